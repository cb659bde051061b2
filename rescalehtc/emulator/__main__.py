"""Run the emulator until a signal or the end of a command: `python -m rescalehtc.emulator`."""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import subprocess
import sys
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from .._console import console
from .._environment import variables_for
from ..exceptions import HtcException
from . import Emulator, Fault
from .faults import KINDS, parse_fault
from .job_log import DEFAULT_MAX_LOG_BYTES
from .runners import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Mapping

WAIT_SECONDS: Final = 0.1


def main() -> int:
    """Serve until a signal, or until the given command ends."""
    with console():
        return _serve()


def _serve() -> int:
    arguments = parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    signals: SimpleQueue[int] = SimpleQueue()  # unlike an Event, safe in a signal handler
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP, and shells ignore SIGINT for background processes.
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: signals.put(number))
    try:
        with Emulator(
            host=arguments.host,
            port=arguments.port,
            data=arguments.data,
            slots=arguments.slots,
            max_log_bytes=arguments.max_log_bytes,
            runner=arguments.runner,
            any_architecture=arguments.any_architecture,
        ) as emulator:
            for fault in arguments.fault:
                emulator.fault(fault.operation, fault.kind, **fault.options)
            if arguments.command:
                return _run(arguments.command, emulator, signals)
            _print_variables(variables_for(emulator.url, emulator.api_key))
            # A wait without a timeout would miss a signal that comes just before.
            while signals.empty():
                time.sleep(WAIT_SECONDS)
    except HtcException as error:
        print(f"rescalehtc.emulator: {error}", file=sys.stderr)
        return 1
    return 0


def _print_variables(variables: Mapping[str, str | None]) -> None:
    """Print shell commands that set the variables.

    Raises:
        HtcException: The output can't be written.
    """
    removed = " ".join(name for name, value in variables.items() if value is None)
    try:
        print(f"unset {removed}  # The emulator runs until Ctrl-C or SIGTERM.")
        for name, value in variables.items():
            if value is not None:
                print(f"export {name}={shlex.quote(value)}")
        sys.stdout.flush()
    except OSError as error:
        raise HtcException(f"the output can't be written: {error.strerror}") from error


def _run(command: list[str], emulator: Emulator, signals: SimpleQueue[int]) -> int:
    """Run a command whose sessions connect to the emulator, and return its exit status."""
    try:
        process = subprocess.Popen(command, env=emulator.environment())  # noqa: S603 - the user's
    except OSError as error:
        raise HtcException(f"can't run {command[0]}: {error.strerror}") from error
    interrupted = False
    with process:
        while True:
            try:
                status = process.wait(WAIT_SECONDS)
                return status if status >= 0 else 128 - status
            except subprocess.TimeoutExpired:
                while not signals.empty():
                    number = signals.get()
                    # The terminal also sends the first Ctrl-C to the command.
                    if number != signal.SIGINT or interrupted:
                        process.send_signal(number)
                    interrupted = interrupted or number == signal.SIGINT


def parser() -> argparse.ArgumentParser:
    """Return the parser of the emulator's options."""
    options = argparse.ArgumentParser(
        prog="python -m rescalehtc.emulator",
        description="Emulate the service: jobs run on this machine, as processes or in containers."
        " Not a sandbox.",
    )
    options.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    options.add_argument("--port", type=_port, default=0, help="port to listen on (any free one)")
    options.add_argument("--data", help="folder for persistent state (a temporary one)")
    options.add_argument(
        "--slots", type=_count, help="maximum number of running jobs (one per processor)"
    )
    options.add_argument(
        "--max-log-bytes",
        type=_count,
        default=DEFAULT_MAX_LOG_BYTES,
        metavar="BYTES",
        help="maximum size of a job's log (1 GiB)",
    )
    options.add_argument(
        "--runner",
        choices=RUNNERS,
        default="process",
        help="run jobs as processes (%(default)s), or in containers of their images with docker or"
        " podman; push the images to the emulator",
    )
    options.add_argument(
        "--any-architecture",
        action="store_true",
        help="also run images for another architecture than the job's",
    )
    options.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="OPERATION:KIND[:OPTION=VALUE]...",
        help="inject a fault, such as submitJobs:reset_after:times=2 or '*:delay:seconds=0.5'; "
        f"repeatable. Kinds: {', '.join(KINDS)}. See Emulator.fault for the kinds and options",
    )
    options.add_argument(
        "command",
        nargs="*",
        metavar="-- COMMAND",
        help="run this command with the emulator's variables in its environment, then stop",
    )
    return options


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must be a port from 0 to 65535")
    return number


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
