"""Every code block of the pages and of the README runs, and prints what stands beneath it.

The blocks of a page run in their order, in one folder and one namespace. `rescale`, `project` and
`task` are there, as in the tutorial.

- `python`: run here. A block whose first line is `# NAME.py` is also kept as that file.
- `yaml`: kept as the file that its first line names, `# NAME.yaml`.
- `console`: each line after `$ ` is run by bash; what follows is what it prints.
- `text`, after a python block: what that one prints.

In what is expected, `...` stands for anything, an id for any id that is the same wherever it comes
again, and 0:00:00 for any time. A block after `<!-- not run: REASON -->` is not run.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml
from markdown_it import MarkdownIt

from rescalehtc import HtcSession, htcprojects, htctasks
from rescalehtc.emulator import Emulator

from . import programs
from .limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if re.search(r"^```(python|console)$", page.read_text(encoding="utf-8"), re.MULTILINE)
]
NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
BIN = Path(sys.executable).parent
PLAIN = re.compile(r"(rescalehtc|python) [\w ./:=-]+")  # bash would only split it into words
KINDS = {"python", "console", "yaml", "text"}


class Block(NamedTuple):
    kind: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The blocks to run; an indented one is none."""
    before = None
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and not token.info.startswith("{"):
            assert token.map
            assert token.info in KINDS, f"{page}:{token.map[0]}: {token.info!r} can't be run"
            if not (before and before.type == "html_block" and NOT_RUN.fullmatch(before.content)):
                yield Block(token.info, token.content, token.map[0] + 1)
        before = token


class Page:
    """A page that is being run."""

    def __init__(self, names: dict[str, object]) -> None:
        self.names = names
        self.ids: dict[str, str] = {}
        self.printed = ""

    def run(self, block: Block) -> None:
        match block.kind:
            case "python":
                self.keep(block.text)
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(compile(block.text, f"line {block.line}", "exec"), self.names)
                self.printed = out.getvalue()
            case "text":
                self.compare(block.text, self.printed)
            case "yaml":
                assert yaml.safe_load(block.text)
                assert self.keep(block.text), "it begins with the file's name"
            case _:
                for command, expected in commands(block.text):
                    self.shell(command, expected)

    def keep(self, text: str) -> bool:
        named = re.match(r"# ([\w./-]+\.\w+)\n", text)
        if named:
            path = Path(named[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return named is not None

    def shell(self, command: str, expected: str) -> None:
        for shown, real in self.ids.items():
            command = command.replace(shown, real)
        if PLAIN.fullmatch(command):
            name, *words = command.split()
            script = [str(BIN / name)] if name == "rescalehtc" else []
            program = [sys.executable, *script, *words]
            done = programs.run(program, stderr=programs.STDOUT, timeout=HANG_SECONDS)
        else:
            done = subprocess.run(
                ["bash", "-euc", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=HANG_SECONDS,
            )
        # Where a page shows nothing, nothing went wrong.
        assert expected or done.returncode == 0, done.stdout
        self.compare(expected, done.stdout)

    def compare(self, expected: str, printed: str) -> None:
        """Find what is expected in what was printed, and learn the ids in it."""
        pattern, at = "", 0
        seen: dict[str, str] = {}
        for place in re.finditer(rf"{ID.pattern}|\n?\.\.\.\n?|\d+:\d\d:\d\d", expected):
            pattern += re.escape(expected[at : place.start()])
            at = place.end()
            if place[0].strip() == "...":
                pattern += r"(?s:.*)"
            elif not ID.fullmatch(place[0]):
                pattern += r"\d+:\d\d:\d\d"
            elif place[0] in self.ids:
                pattern += self.ids[place[0]]
            elif place[0] in seen:
                pattern += f"(?P={seen[place[0]]})"
            else:
                name = seen[place[0]] = f"id{len(seen)}"
                pattern += f"(?P<{name}>{ID.pattern})"
        pattern += re.escape(expected[at:].rstrip("\n"))
        found = re.fullmatch(pattern, printed.rstrip("\n"))
        assert found, f"expected:\n{expected}\nprinted:\n{printed}"
        self.ids |= {shown: found[name] for shown, name in seen.items()}


def commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, with what each one prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = f"{command}\n{more}"
        yield command, output


@pytest.fixture
def page_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What pages take for granted: names, an emulator with nothing on it, a folder, commands."""
    with Emulator(slots=4) as emulator, emulator.session() as rescale:
        for name, value in {
            "RESCALE_API_BASE_URL": emulator.url,
            "RESCALE_API_KEY": emulator.api_key,
            "COLUMNS": "120",
        }.items():
            monkeypatch.setenv(name, value)
        # Sessions that pages make as on the service would look every 30 s.
        defaults = HtcSession.__init__.__kwdefaults__
        assert defaults
        monkeypatch.setitem(defaults, "status_refresh_seconds", 0.05)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        project = htcprojects.get_projects(rescale)[0]
        task = htctasks.create_task_with_name(rescale, project, "a page's own")
        names = {"__name__": "page", "rescale": rescale, "project": project, "task": task}
        yield names
        for value in names.values():
            if isinstance(value, HtcSession):
                value.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs_and_prints_what_the_page_says(
    page: Path, page_names: dict[str, object]
) -> None:
    run = Page(page_names)
    for block in blocks(page):
        try:
            run.run(block)
        except Exception as error:
            error.add_note(f"{page.relative_to(ROOT)}:{block.line}")
            raise


def test_what_is_expected_is_compared() -> None:
    page = Page({})
    one, other = "0" * 8 + "-0000-0000-0000-" + "0" * 12, "1" * 8 + "-1111-1111-1111-" + "1" * 12
    page.compare(f"job {one}:0\n...\nran 0:00:00\n", f"job {other}:0\nx\ny\nran 0:12:01\n")
    page.compare(f"{one}\n", f"{other}\n")
    for expected, printed in [("a\n", "b\n"), (f"{one}\n", f"{one}\n"), ("a\n...\nb\n", "a\nc\n")]:
        with pytest.raises(AssertionError):
            page.compare(expected, printed)


def test_the_page_about_the_command_line_names_every_command() -> None:
    from typer.main import get_group

    from rescalehtc.cli._app import app

    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    names = list(get_group(app).commands)
    assert "submit" in names
    assert [name for name in names if f"`{name}`" not in text] == []
