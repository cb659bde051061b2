"""A forked program behaves like one in a new interpreter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .. import programs
from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

BIN = Path(sys.executable).parent

# A program that prints the properties of its process.
SEEN = """\
import json, locale, os, resource, signal, sys, threading, time

SET_BY_SHELLS = ("PWD", "OLDPWD", "SHLVL", "_")

def seen(stream):
    return stream and {
        "encoding": stream.encoding,
        "errors": stream.errors,
        "line_buffering": stream.line_buffering,
        "write_through": stream.write_through,
        "shown": repr(stream),
        "terminal": stream.isatty(),
        "number": stream.fileno(),
    }

found = {
    "argv": sys.argv,
    "path": sys.path,
    "name": [__name__, sys.modules["__main__"].__dict__ is globals()],
    "flags": str(sys.flags),
    "streams": [seen(s) for s in (sys.stdin, sys.stdout, sys.stderr)],
    "originals": [sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__],
    "folder": os.getcwd(),
    "variables": {k: v for k, v in os.environ.items() if k not in SET_BY_SHELLS},
    "files": [n for n in range(100) if os.path.exists(f"/proc/self/fd/{n}")],
    "signals": {n.name: str(signal.getsignal(n)) for n in signal.Signals},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "locale": locale.setlocale(locale.LC_ALL),
    "zone": time.tzname,
    "threads": threading.active_count(),
    "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
    "priority": os.getpriority(os.PRIO_PROCESS, 0),
}
os.umask(found.setdefault("umask", os.umask(0)))
with open(os.environ["SEEN"], "w") as file:
    json.dump(found, file)
"""

RUN = {
    "-c": lambda folder: ["-c", SEEN, "-x", "one"],
    "-m": lambda folder: ["-m", "probe", "--", "\udcff"],
    "a script": lambda folder: [str(folder / "probe.py"), ""],
    "a script here": lambda folder: ["probe.py"],
}


@pytest.mark.parametrize("how", RUN)
@pytest.mark.parametrize("closed", [(), (0,), (1, 2), (0, 1, 2)])
def test_a_program_sees_the_process_that_it_would_see(
    tmp_path: Path, how: str, closed: tuple[int, ...]
) -> None:
    (tmp_path / "probe.py").write_text(SEEN)
    seen = tmp_path / "seen.json"
    command = [sys.executable, *RUN[how](tmp_path)]
    environment = {**os.environ, "SEEN": str(seen), "TZ": "Asia/Tokyo", "ODD": "\udcff\n"}
    names = ("stdin", "stdout", "stderr")
    streams: dict[str, Any] = {
        name: programs.CLOSED if number in closed else programs.PIPE
        for number, name in enumerate(names)
    }
    programs.run(command, env=environment, cwd=tmp_path, **streams)
    forked = json.loads(seen.read_text())
    closing = " ".join(f"{number}>&-" for number in closed)
    subprocess.run(
        ["sh", "-c", f'exec "$@" {closing}', "sh", *command],
        env=environment,
        cwd=tmp_path,
        input=b"",
        capture_output=True,
        check=True,
    )
    assert forked == json.loads(seen.read_text())


def kill_self(number: signal.Signals) -> str:
    return f"import os; os.kill(os.getpid(), {number.value})"


ENDS = {
    "returns": ("print('x')", 0),
    "exits": ("import sys; print('x'); sys.exit()", 0),
    "exits with a number": ("import sys; print('x'); sys.exit(259)", 3),
    "exits with a text": ("import sys; sys.exit('told')", 1),
    "raises": ("print('x'); 1 / 0", 1),
    "is left at once": ("import os; print('lost'); os._exit(4)", 4),
    "is interrupted": (kill_self(signal.SIGINT), -2),
    "is terminated": (kill_self(signal.SIGTERM), -15),
    "is killed": (kill_self(signal.SIGKILL), -9),
    "has more to do at its end": (
        "import atexit, sys, threading, time; atexit.register(print, 'last');"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start(); sys.exit(5)",
        5,
    ),
}


@pytest.mark.parametrize(("code", "status"), ENDS.values(), ids=ENDS.keys())
def test_a_program_ends_as_it_would(code: str, status: int) -> None:
    command = [sys.executable, "-c", code]
    forked = programs.run(command)
    new = subprocess.run(command, capture_output=True, text=True)
    assert forked.returncode == new.returncode == status
    assert forked.stdout == new.stdout
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]


@pytest.mark.parametrize("how", ["full", "pipe"])
def test_a_program_whose_output_cannot_be_written_ends_as_it_would(how: str) -> None:
    command = [sys.executable, "-c", "print('x')"]
    with programs.unwritable(how) as stdout:
        forked = programs.run(command, stdout=stdout)
        new = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert forked.returncode == new.returncode
    assert forked.stderr.splitlines()[-1] == new.stderr.splitlines()[-1]


def test_both_outputs_may_go_into_one() -> None:
    code = "import sys; print(1, flush=True); print(2, file=sys.stderr); print(3, flush=True)"
    done = programs.run([sys.executable, "-c", code], stderr=programs.STDOUT)
    assert (done.stdout, done.stderr) == ("1\n2\n3\n", "")


def test_several_run_at_the_same_time_and_are_read_from_and_signalled() -> None:
    code = "import sys; print('on', flush=True); print(input())"
    with (
        programs.Process([sys.executable, "-c", code], stdin=programs.PIPE) as item,
        programs.Process([sys.executable, "-c", code], stdin=programs.PIPE) as other,
    ):
        for process in (item, other):
            assert process.stdout
            assert process.stdout.readline() == "on\n"
            assert process.poll() is None
        with pytest.raises(TimeoutError):
            item.wait(0.01)
        item.terminate()
        assert item.wait(HANG_SECONDS) == -signal.SIGTERM
        item.send_signal(signal.SIGTERM)  # it has ended
        assert other.communicate("x\r\n") == ("x\r\n", "")
        assert (item.poll(), other.poll()) == (-signal.SIGTERM, 0)


@pytest.mark.parametrize("name", ["PYTHONIOENCODING", "LC_ALL", "LANG"])
def test_variables_that_would_have_no_effect_are_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} when it starts: start it with `subprocess`"):
        programs.run([sys.executable, "-c", ""], env={**os.environ, name: "other"})


WORKER = """\
import os, signal, sys
from tests import programs
code = "import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(600)"
process = programs.Process([sys.executable, "-c", code])
print(process.stdout.readline(), flush=True)
pid, zygote = process.pid, programs._zygote()._process.pid
if sys.argv[1] == "zygote":
    os.kill(zygote, signal.SIGKILL)
    for use in (process.wait, lambda: programs.run([sys.executable, "-c", ""])):
        try:
            use()
        except RuntimeError as error:
            print(error, file=sys.stderr, flush=True)
    os.kill(pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("killed", ["zygote", "worker"])
def test_nothing_is_left_when_a_process_is_killed(
    killed: str, until: Callable[[Callable[[], bool]], None]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, killed], capture_output=True, text=True, cwd=programs.ROOT
    )
    assert done.returncode == -signal.SIGKILL
    errors = "the process that programs are forked from ended with exit status -9"
    assert done.stderr.count(errors) == (2 if killed == "zygote" else 0), done.stderr
    for pid in done.stdout.split():
        until(lambda pid=pid: not is_running(pid))


def is_running(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# ---- the programs that other tests fork do start


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([str(BIN / "rescalehtc"), "--help"], "Exit status:"),
        ([str(BIN / "rauthenticate"), "--help"], "exit status:"),
        ([sys.executable, "-m", "rescalehtc.cli", "--help"], "Exit status:"),
        ([sys.executable, "-m", "rescalehtc.rauthenticate", "--help"], "exit status:"),
        ([sys.executable, "-m", "rescalehtc.emulator", "--help"], "usage:"),
    ],
)
def test_the_installed_programs_start(command: list[str], message: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert message in done.stdout


@pytest.mark.parametrize(
    ("command", "status"),
    [(["rescalehtc", "--version"], 2), (["rauthenticate", "-i"], 1)],
)
def test_they_start_without_any_stream(command: list[str], status: int) -> None:
    script = [str(BIN / command[0]), *command[1:]]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *script])
    assert done.returncode == status
