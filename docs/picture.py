"""Draw docs/_static/watch.svg from a run of `rescalehtc watch` on the emulator: `make picture`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pexpect
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from rescalehtc import htcjobs, htcprojects, htctasks
from rescalehtc.emulator import Emulator

PICTURE = Path(__file__).parent / "_static" / "watch.svg"
COMMAND = "rescalehtc watch --task sweep"
COLUMNS = 76
# Each job takes a second, and the last two fail.
JOB = ["sh", "-c", "sleep 1; test $AWS_BATCH_JOB_ARRAY_INDEX -lt 38"]
# Remove the fonts, which a browser would fetch from another site.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def run() -> str:
    """Return the output of the command in a terminal."""
    with Emulator(slots=4) as emulator, emulator.session() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        task = htctasks.create_task_with_name(rescale, project, "sweep")
        htcjobs.create_job_batch(
            rescale, task, 40, "ON_DEMAND_ECONOMY", "python:3", 300, commands=JOB
        )
        environment = {**emulator.environment(), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
        terminal = pexpect.spawn(
            COMMAND, env=os.environ | environment, dimensions=(24, COLUMNS), encoding="utf-8"
        )
        terminal.expect(pexpect.EOF, timeout=120)
        return terminal.before or ""


def main() -> None:
    """Draw the progress bar halfway, and the final output of the command."""
    lines = re.sub(r"\x1b\[(?![\d;]*m)[?\d;]*[A-Za-z]", "\n", run()).replace("\r", "\n").split("\n")
    shown = [line for line in lines if line.strip()]
    bars = [number for number, line in enumerate(shown) if "/40" in line]
    middle = next(
        number
        for number, bar in enumerate(bars)
        if (found := re.search(r"(\d+)/40", shown[bar])) and int(found[1]) > 19
    )
    halfway = shown[bars[middle] : bars[middle + 1]]  # several lines if they are wrapped
    rest = shown[bars[-1] :]
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(
            record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="256"
        )
        for line in (f"$ {COMMAND}", *halfway, "...", *rest):
            console.print(Text.from_ansi(line.rstrip()))
    svg = console.export_svg(title="rescalehtc", code_format=FORMAT, unique_id="watch")
    PICTURE.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")


if __name__ == "__main__":
    main()
