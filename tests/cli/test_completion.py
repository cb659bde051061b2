"""Completion in real shells: names of the service, and file names only where a file is meant."""

from __future__ import annotations

import os
import shutil
import socketserver
import threading
from typing import TYPE_CHECKING

import pexpect
import pytest

from rescalehtc import htcjobs, htctasks
from rescalehtc.cli import _shells

from ..limits import HANG_SECONDS
from .conftest import request_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rescalehtc import HtcSession, htcprojects

    from .conftest import Command

    Complete = Callable[[str], str]

# Ctrl-G prints the line.
STARTS = {
    "bash": r"""
        . ./completion
        bind -x '"\C-g": printf "<%s>\n" "$READLINE_LINE"'
    """,
    # zsh loads the file when Tab is first pressed, as it does after --install-completion.
    "zsh": r"""
        fpath=($PWD/zfunc $fpath); autoload -Uz compinit; compinit -u -D
        show() { zle -I; print -r -- "<$BUFFER>" }
        zle -N show; bindkey '^G' show
    """,
}
# The program of the shell. The command itself runs in this process, which is faster.
RELAY = """#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{port}
printf '%s\\n' "$_RESCALEHTC_COMPLETE" "$_TYPER_COMPLETE_FISH_ACTION" "$_TYPER_COMPLETE_ARGS" >&3
cat <&3
"""
VARIABLES = ("_RESCALEHTC_COMPLETE", "_TYPER_COMPLETE_FISH_ACTION", "_TYPER_COMPLETE_ARGS")
OPTIONS = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}


@pytest.fixture
def server(htc: Command) -> Iterator[socketserver.TCPServer]:
    """Runs the command for RELAY, with the variables that the shell has set."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines = [self.rfile.readline().decode().removesuffix("\n") for _ in VARIABLES]
            done = htc(**dict(zip(VARIABLES, lines, strict=True)))
            self.wfile.write(done.output.encode())

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["bash", "zsh"])
def complete(
    request: pytest.FixtureRequest, htc: Command, server: socketserver.TCPServer
) -> Iterator[Complete]:
    """Type words in a shell, press Tab, and return the line."""
    shell: str = request.param
    for program in (shell, "bash"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    folder = htc.folder
    (folder / "a-file.yaml").touch()
    (folder / "bin").mkdir()
    relay = folder / "bin" / "rescalehtc"
    relay.write_text(RELAY.format(port=server.server_address[1]))
    relay.chmod(0o700)
    (folder / "completion").write_text(_shells.BASH)
    (folder / "zfunc").mkdir()
    (folder / "zfunc" / "_rescalehtc").write_text(_shells.ZSH.lstrip())
    environment = htc.environ(TERM="dumb", PATH=f"{folder / 'bin'}:{os.environ['PATH']}")
    terminal = pexpect.spawn(
        shell,
        [*OPTIONS[shell], "-i"],
        env=environment,
        cwd=str(folder),
        encoding="utf-8",
        timeout=HANG_SECONDS,
        dimensions=(24, 200),
    )

    def complete(words: str) -> str:
        terminal.send(f"{words}\t\x07\x15")
        terminal.expect(r"<(?=rescalehtc)")
        terminal.expect(r">\r")
        return str(terminal.before)

    terminal.send("".join(line.strip() + "\n" for line in STARTS[shell].strip().splitlines()))
    terminal.send("echo rea''dy\n")
    terminal.expect("ready\r")
    yield complete
    terminal.close(force=True)


def test_tab_completes_names_and_only_files_that_are_wanted(
    complete: Complete, rescale: HtcSession, project: htcprojects.HtcProject
) -> None:
    """The first Tab of a zsh already completes. Names are quoted, and colons are not repeated."""
    name = f"tab {os.getpid()} it's"
    task = htctasks.create_task_with_name(rescale, project, name)
    job_id = htcjobs.submit(rescale, task, [request_for("true")]).to_jobs()[0].json["jobUUID"]
    line = complete(f"rescalehtc jobs -t tab\\ {os.getpid()}")
    assert line.rstrip() == f"rescalehtc jobs -t tab\\ {os.getpid()}\\ it\\'s"
    logs = f"rescalehtc logs -t {task.json['taskId']} {job_id}"
    assert complete(logs.removesuffix("0")).rstrip() == logs
    assert complete("rescalehtc jobs --limit ") == "rescalehtc jobs --limit "
    assert complete("rescalehtc plan a-").rstrip() == "rescalehtc plan a-file.yaml"


def test_the_scripts_are_those_that_the_command_shows(htc: Command) -> None:
    for shell, script in (("bash", _shells.BASH), ("zsh", _shells.ZSH), ("fish", _shells.FISH)):
        done = htc.apart(
            "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
        )
        assert done.output.strip() == script.strip()
