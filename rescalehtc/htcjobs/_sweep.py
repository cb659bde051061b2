"""The files of `htcjobs.map` in the task's storage, and the jobs that use them."""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from .._facts import MAX_BATCH_SIZE
from .._interrupts import is_from_signal_handler
from ..exceptions import HtcException, HtcFileError, HtcValidationError, Problem
from ._results import INPUTS_VARIABLE, RESULTS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from os import PathLike

    from .. import models
    from .._client.io import Io
    from ..files._storage import Storage

    Program = str | PathLike[str] | Callable[[Any], Any]

# By the index of the input, the result or an error.
Results = dict[int, tuple[Any, HtcException | None]]

PARALLEL_READS = 16

# The command of a job. The shell sets $0 to the program's name below the shared folder.
COMMAND = """\
index="${RESCALEHTC_INDEX:-$AWS_BATCH_JOB_ARRAY_INDEX}"
results="$TASK_SHARED_FOLDER/$RESCALEHTC_RESULTS/$index"
mkdir -p "$results" && rm -f "$results/result.json" || exit
exec python3 "$TASK_SHARED_FOLDER/$0" \
    "$TASK_SHARED_FOLDER/$RESCALEHTC_INPUTS/$index.json" "$results/result.json"
"""

# The upload writes this file last. It has the digest of the program and the inputs.
_DIGEST = "digest.txt"


class Sweep:
    """A program and its inputs, for one group of jobs.

    The folder of a group has `program/`, `inputs/PART/INDEX.json` and
    `results/PART/INDEX/result.json`. There is one part per batch.
    """

    def __init__(self, program: Program, inputs: Iterable[Any], group: str) -> None:
        """Check the program and the inputs. Sends nothing.

        Raises:
            HtcValidationError: The program, an input or the group is invalid.
            HtcFileError: The program can't be read.
        """
        self.inputs = _checked_inputs(inputs)
        self.group = group
        self._folder = _folder_of(group)
        self._program = _function_files(program) if callable(program) else _script_file(program)
        # The pickle of a function may differ between processes, so it does not identify the sweep.
        identity = {"a function": b""} if callable(program) else self._program
        self._digest = _digest_of(identity, self.inputs)

    def requests(self, model: models.HTCJobSubmitRequest) -> list[dict[str, Any]]:
        """Return one submit request per part.

        Args:
            model: A valid submit request for one job.
        """
        request = model.to_json_dict()
        definition = request["htcJobDefinition"]
        reserved = (INPUTS_VARIABLE, RESULTS_VARIABLE)
        user_envs = [env for env in definition.get("envs") or () if env["name"] not in reserved]
        (program, *_) = self._program
        commands = ["sh", "-c", COMMAND, f"{self._folder}/program/{program}"]
        requests: list[dict[str, Any]] = []
        for part, start in enumerate(range(0, len(self.inputs), MAX_BATCH_SIZE)):
            folders = {
                INPUTS_VARIABLE: f"{self._folder}/inputs/{part}",
                RESULTS_VARIABLE: f"{self._folder}/results/{part}",
            }
            envs = [
                *user_envs,
                *({"name": name, "value": value} for name, value in folders.items()),
            ]
            size = min(MAX_BATCH_SIZE, len(self.inputs) - start)
            changed = {**definition, "commands": commands, "envs": envs}
            requests.append({**request, "batchSize": size, "htcJobDefinition": changed})
        return requests

    def results_folder(self, index: int) -> str:
        """The folder of the job's results, by the index of its input."""
        part, position = divmod(index, MAX_BATCH_SIZE)
        return f"{self._folder}/results/{part}/{position}"

    async def upload(self, io: Io, storage: Storage) -> None:
        """Upload the program and the inputs, unless an earlier call has done so.

        Raises:
            HtcValidationError: The group has another program or other inputs.
            HtcFileError: The files can't be uploaded.
        """
        from ..files import _flows

        name = f"{self._folder}/{_DIGEST}"
        try:
            stored = (await _flows.read(io, storage, name)).decode(errors="replace")
        except HtcFileError as error:
            if error.errno != errno.ENOENT:
                raise
            async with io.holding(self._staged()) as (folder, _):
                await _flows.upload(io, storage, folder, self._folder, False)
            await _flows.write(io, storage, name, self._digest)
            return
        if stored != self._digest:
            message = (
                f"must be the same as in the first call for group {self.group!r}, and so must the "
                "program; choose another group for other inputs or a changed program"
            )
            raise HtcValidationError("map", [Problem("inputs", message)])

    @contextmanager
    def _staged(self) -> Generator[Path]:
        """Write the files to a temporary folder."""
        with ExitStack() as stack:
            try:
                temporary = tempfile.TemporaryDirectory(prefix="rescalehtc-map-")
                folder = Path(stack.enter_context(temporary))
                self._write(folder)
            except OSError as error:
                if is_from_signal_handler(error):
                    raise
                message = f"the inputs can't be written to a temporary folder: {error.strerror}"
                raise HtcFileError(message) from None
            yield folder

    def _write(self, folder: Path) -> None:
        program = folder / "program"
        program.mkdir()
        for name, content in self._program.items():
            (program / name).parent.mkdir(exist_ok=True)
            (program / name).write_bytes(content)
        for index, value in enumerate(self.inputs):
            part, position = divmod(index, MAX_BATCH_SIZE)
            path = folder / "inputs" / str(part) / f"{position}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_to_json(value), encoding="utf-8")

    async def read_results(self, io: Io, storage: Storage, indices: Sequence[int]) -> Results:
        """Read the results of jobs that have succeeded: by index, the result or an error."""
        from ..files import _flows

        results: Results = {}
        queue = deque(indices)

        async def read() -> None:
            while True:
                try:
                    index = queue.popleft()
                except IndexError:
                    return
                name = f"{self.results_folder(index)}/result.json"
                try:
                    results[index] = json.loads(await _flows.read(io, storage, name)), None
                except (ValueError, RecursionError) as error:
                    results[index] = None, HtcFileError(f"the result {name} is not JSON: {error}")
                except HtcFileError as error:
                    if error.errno != errno.ENOENT:
                        raise
                    message = f"the job succeeded, but wrote no result to {name}"
                    results[index] = None, HtcFileError(message)

        if indices:
            await io.run_workers(read, min(PARALLEL_READS, len(indices)))
        return results


def _checked_inputs(inputs: object) -> list[Any]:
    if _are_several(inputs):
        return [*inputs]
    kind = type(inputs).__name__
    message = f"must be a list or another iterable of JSON values, got {kind}"
    raise HtcValidationError("map", [Problem("inputs", message)])


def _are_several(inputs: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes | Mapping)


def _digest_of(program: Mapping[str, bytes], inputs: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for name, content in program.items():
        digest.update(name.encode() + b"\0" + content + b"\0")
    problems: list[Problem] = []
    for index, value in enumerate(inputs):
        try:
            digest.update(_to_json(value).encode() + b"\n")
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(Problem(f"inputs[{index}]", f"must be a JSON value: {error}"))
    if problems:
        raise HtcValidationError("map", problems)
    return digest.hexdigest()


def _folder_of(group: str) -> str:
    from ..files._names import checked

    try:
        return checked(f"map-{group}")
    except HtcFileError:
        message = f"must not have '.', '..', empty parts or control characters, got {group!a}"
        raise HtcValidationError("map", [Problem("group", message)]) from None


def _to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _script_file(program: str | PathLike[str]) -> dict[str, bytes]:
    """The name and the content of a script."""
    try:
        path = Path(program)
        return {path.name: path.read_bytes()}
    except TypeError:
        message = f"must be the path of a Python script, or a function, got {program!r}"
        raise HtcValidationError("map", [Problem("program", message)]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise HtcFileError(f"the program {program!s} can't be read: {reason}") from None


def _function_files(function: Callable[[Any], Any]) -> dict[str, bytes]:
    """The files with which a job calls a function. The image needs nothing but Python."""
    try:
        cloudpickle: Any = import_module("cloudpickle")
    except ImportError as error:
        message = f'map needs cloudpickle for functions: pip install "rescalehtc[map]>=2" ({error})'
        raise HtcException(message) from error
    from . import _call_function

    try:
        pickled: bytes = cloudpickle.dumps(function)
    except Exception as error:  # a user's class may raise any exception
        message = f"can't be pickled: {error}"
        raise HtcValidationError("map", [Problem("program", message)]) from error
    library = Path(cloudpickle.__file__).parent
    return {
        "call_function.py": Path(_call_function.__file__).read_bytes(),
        "function.pickle": pickled,
        "python.txt": _call_function.version().encode(),
        **{f"cloudpickle/{file.name}": file.read_bytes() for file in library.glob("*.py")},
    }
