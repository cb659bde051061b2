"""Every code block of the pages and of the README runs, and prints the expected output.

The blocks of a page run in order, in one folder and one namespace. `rescale`, `project` and
`task` are defined, as in the tutorial.

- `python`: run in the test's process. If its first line is `# NAME.py`, it is also saved as a file.
- `yaml`: saved as the file in its first line, `# NAME.yaml`.
- `console`: bash runs each line after `$ `. The lines below are the expected output.
- `text`, after a python block: the expected output of this block.

In expected output, `...` matches anything and 0:00:00 any time. An id matches any id, but always the
same one. A block after `<!-- not run: REASON -->` is not run.

The README runs as in a new clone: with an empty home folder and without an emulator. tests/release
runs it in new environments, including the blocks that install packages.
"""

from __future__ import annotations

import contextlib
import io
import os
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

from .. import programs
from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
# Its blocks need docker or podman: tests/containers runs them.
OF_IMAGES = ROOT / "docs/how-to/images.md"
PAGES = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if page != OF_IMAGES
    and re.search(r"^```(python|console)$", page.read_text(encoding="utf-8"), re.MULTILINE)
]
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->\s*")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
BIN = Path(sys.executable).parent
PLAIN = re.compile(r"(rescalehtc|python) [\w ./:=-]+")  # bash would only split it into words
KINDS = {"python", "console", "yaml", "text"}


class Block(NamedTuple):
    kind: str
    text: str
    line: int


def blocks(page: Path, but_run: str | None = None) -> Iterator[Block]:
    """The blocks to run, including those that are not run for this reason, without indented ones."""
    before = None
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and not token.info.startswith("{"):
            assert token.map
            assert token.info in KINDS, f"{page}:{token.map[0]}: {token.info!r} can't be run"
            comment = before.content if before and before.type == "html_block" else ""
            not_run = NOT_RUN.fullmatch(comment)
            if not not_run or not_run[1] == but_run:
                yield Block(token.info, token.content, token.map[0] + 1)
        before = token


class Page:
    """A running page."""

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
        # If a page shows no output, the command succeeds.
        assert expected or done.returncode == 0, done.stdout
        self.compare(expected, done.stdout)

    def compare(self, expected: str, printed: str) -> None:
        """Match the printed output with the expected output, and store the ids."""
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
        found = re.fullmatch(pattern, programs.without_notice(printed).rstrip("\n"))
        assert found, f"expected:\n{expected}\nprinted:\n{printed}"
        self.ids |= {shown: found[name] for shown, name in seen.items()}


def commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, with their expected output."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = f"{command}\n{more}"
        yield command, output


@pytest.fixture
def page_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """The environment of a page, with a new emulator."""
    with Emulator(slots=4) as emulator, names_on(emulator, tmp_path, monkeypatch) as names:
        yield names


@contextlib.contextmanager
def names_on(
    emulator: Emulator, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, object]]:
    """The environment of a page: names, an emulator, a folder and commands."""
    with emulator.session() as rescale:
        for name, value in {
            "RESCALE_API_BASE_URL": emulator.url,
            "RESCALE_API_KEY": emulator.api_key,
            "RESCALEHTC_STATUS_REFRESH_SECONDS": "0.05",
            "COLUMNS": "120",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder)
        (folder / "examples").symlink_to(ROOT / "examples")
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
    run_blocks(page, Page(page_names))


def test_every_block_of_the_readme_runs_from_an_empty_home_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(BIN), prepend=os.pathsep)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    run_blocks(README, NewcomersPage({}))


class NewcomersPage(Page):
    """A page whose programs are saved, and run only by later commands."""

    def run(self, block: Block) -> None:
        if block.kind == "python":
            assert self.keep(block.text), "it begins with the file's name"
        else:
            super().run(block)


def run_blocks(page: Path, run: Page) -> None:
    for block in blocks(page):
        try:
            run.run(block)
        except Exception as error:
            error.add_note(f"{page.relative_to(ROOT)}:{block.line}")
            raise


def test_what_is_expected_is_compared() -> None:
    page = Page({})
    first_id, second_id = (
        "0" * 8 + "-0000-0000-0000-" + "0" * 12,
        "1" * 8 + "-1111-1111-1111-" + "1" * 12,
    )
    page.compare(f"job {first_id}:0\n...\nran 0:00:00\n", f"job {second_id}:0\nx\ny\nran 0:12:01\n")
    page.compare(f"{first_id}\n", f"{second_id}\n")
    for expected, printed in [
        ("a\n", "b\n"),
        (f"{first_id}\n", f"{first_id}\n"),
        ("a\n...\nb\n", "a\nc\n"),
    ]:
        with pytest.raises(AssertionError):
            page.compare(expected, printed)
