"""The program of a job of `htcjobs.map` with a function: `call_function.py INPUT RESULT`.

It runs in the job's container, without this package. `cloudpickle` is next to it.
"""

import json
import pickle
import sys
from pathlib import Path


def version() -> str:
    """The Python version, without the last part. Pickles of functions work in the same one only."""
    return "{}.{}".format(*sys.version_info)


def main(source: str, target: str) -> None:
    """Call the function with the input, and write the result."""
    folder = Path(__file__).parent
    if (made_with := (folder / "python.txt").read_text()) != version():
        sys.exit(
            f"the function was pickled by Python {made_with}, but the image has Python {version()}; "
            "use an image with the same version"
        )
    function = pickle.loads((folder / "function.pickle").read_bytes())  # noqa: S301 - the user's own
    result = json.dumps(function(json.loads(Path(source).read_text(encoding="utf-8"))))
    part = Path(f"{target}.part")
    part.write_text(result, encoding="utf-8")
    part.replace(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
