"""Convert exceptions to short error messages and exit statuses."""

from __future__ import annotations

import contextlib
import io
import traceback
from typing import TYPE_CHECKING

import typer

from .._console import INTERRUPTED, ignore_interrupts
from ..exceptions import (
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcFileError,
    HtcResponseError,
    HtcStatusError,
    RunStoppedError,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)
from . import _output
from ._hints import with_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TextIO

SUCCESS = 0
JOBS_FAILED = 1
BAD_INPUT = 2
NO_SERVICE = 3
NOT_IN_TIME = 4
INCOMPLETE = 5
DEFECT = 70
SIGNALLED = 128  # plus the number of the signal, as in shells
OUTPUT_CLOSED = SIGNALLED + 13  # SIGPIPE

EXIT_STATUS = f"""\
Exit status:

\b
  {SUCCESS}    success; if you waited for jobs, all of them succeeded
  {JOBS_FAILED}    jobs failed
  {BAD_INPUT}    invalid input: arguments, files, or names that do not exist
  {NO_SERVICE}    the service can't be reached, rejects the credentials, or fails
  {NOT_IN_TIME}    timed out while waiting
  {INCOMPLETE}    a submission is incomplete or uncertain; the message lists its jobs
  {DEFECT}   internal error, with traceback
  {INTERRUPTED}  interrupted with Ctrl-C
"""

_REFUSALS = (401, 403, 429)


class UnreportedError(HtcException):
    """Jobs were submitted, but the output can't be written."""


def exit_status(command: Callable[[], object]) -> int:
    """Run a command, report errors on standard error, and return the exit status."""
    status = _attempt(command)
    unwritten = _attempt(_output.flush)
    return status or unwritten


def _attempt(action: Callable[[], object]) -> int:
    try:
        try:
            action()
        except OSError as error:
            if error.filename is not None or isinstance(error, HtcException):
                raise
            raise _output.failed(error) from None  # while Typer prints help
    except typer.Exit as error:
        return error.exit_code
    except typer.TyperException as error:
        _output.say(_usage(error))
        return error.exit_code
    except KeyboardInterrupt as error:
        ignore_interrupts()
        _report(error, "interrupted")
        return INTERRUPTED
    except SystemExit as error:  # a signal
        ignore_interrupts()
        code = error.code if isinstance(error.code, int) else 0
        if code > SIGNALLED:
            _report(error, "terminated")
        return code
    except HtcException as error:
        if isinstance(error, _output.OutputError) and error.is_closed_pipe:
            return OUTPUT_CLOSED
        _report(error, str(error))
        return _status(error)
    except OSError as error:
        _report(error, f"{error.filename}: {error.strerror}")
        return BAD_INPUT
    except Exception as error:  # noqa: BLE001 - an internal error, reported with a traceback
        _output.say("".join(traceback.format_exception(error)).rstrip("\n"))
        return DEFECT
    return SUCCESS


def _usage(error: typer.TyperException) -> str:
    """The message that Typer would show for an error."""
    show: Callable[[TextIO], None] | None = getattr(error, "show", None)
    if show is None:
        return str(error)
    shown = io.StringIO()
    show(shown)
    return with_hint(shown.getvalue().rstrip("\n"), getattr(error, "ctx", None))


def _report(error: BaseException, message: str) -> None:
    notes: list[str] = getattr(error, "__notes__", [])
    _output.say_error("\n".join([message, *(f"  {note}" for note in notes)]))


@contextlib.contextmanager
def note_uncertain_change(change: str) -> Generator[None]:
    """Add a note to an exception with an unknown outcome.

    Args:
        change: The possible change, such as "task 'x' may have been created".
    """
    try:
        yield
    except HtcException as error:
        if error.outcome_unknown:
            error.add_note(change)
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        error.add_note(change)
        raise


def _status(error: HtcException) -> int:
    if isinstance(error, SubmissionIncompleteError | SubmissionUncertainError | UnreportedError):
        return INCOMPLETE
    if isinstance(error, RunStoppedError):
        return JOBS_FAILED
    if isinstance(error, HtcStatusError):
        refused = error.status_code in _REFUSALS or (error.status_code or 0) >= 500
        return NO_SERVICE if refused else BAD_INPUT
    if isinstance(error, HtcConnectionError | HtcCredentialsError | HtcResponseError):
        return NO_SERVICE
    if isinstance(error, HtcFileError) and error.is_transient:
        return NO_SERVICE
    return NOT_IN_TIME if isinstance(error, TimeoutError) else BAD_INPUT
