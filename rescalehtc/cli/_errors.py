"""From what went wrong to a message on one screen and an exit status."""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING

import typer

from ..exceptions import (
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcResponseError,
    HtcStatusError,
)
from . import _output

if TYPE_CHECKING:
    from collections.abc import Generator

JOBS_FAILED = 1
BAD_INPUT = 2
NO_SERVICE = 3
NOT_IN_TIME = 4
DEFECT = 70
INTERRUPTED = 130
OUTPUT_CLOSED = 141  # what a shell tells of a program that a closed pipe ended

EXIT_STATUS = f"""\
Exit status:

\b
  0    fine; of jobs that were waited for: all succeeded
  {JOBS_FAILED}    jobs failed
  {BAD_INPUT}    bad input: arguments, files, names of what is not there
  {NO_SERVICE}    the service can't be reached, refuses the credentials, or failed
  {NOT_IN_TIME}    what was waited for did not come in time
  {DEFECT}   a defect of this program, told with its traceback
  {INTERRUPTED}  interrupted with Ctrl-C
"""

_REFUSALS = (401, 403, 429)


@contextlib.contextmanager
def reported() -> Generator[None]:
    """Tell what goes wrong inside on the error stream, and exit with its status."""
    try:
        yield
        _output.flush()
    except BrokenPipeError:
        status = OUTPUT_CLOSED
    except HtcException as error:
        _output.say_error(str(error))
        status = _status(error)
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except Exception:  # noqa: BLE001 - told whole, and told apart from jobs that failed
        traceback.print_exc()
        status = DEFECT
    else:
        return
    raise typer.Exit(status)


def _status(error: HtcException) -> int:
    if isinstance(error, HtcStatusError):
        refused = error.status_code in _REFUSALS or (error.status_code or 0) >= 500
        return NO_SERVICE if refused else BAD_INPUT
    if isinstance(error, HtcConnectionError | HtcCredentialsError | HtcResponseError):
        return NO_SERVICE
    return NOT_IN_TIME if isinstance(error, TimeoutError) else BAD_INPUT
