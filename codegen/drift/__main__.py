"""Compare a published description with openapi/htc.yaml: additions, removals and changes.

    python -m codegen.drift PATH-OR-URL

Operations are matched by method and path, and schemas by the places that use them, regardless of
their names. If a published component is split into two here, it is compared twice: its fields that
aren't read-only with our request, and its fields that aren't write-only with our response. Each
difference is a line, `place: difference`.

openapi/PROVENANCE.md is the record of known differences. The output omits the lines of its blocks
marked `drift`. `*` in a line matches anything in the place, but nothing in the difference, so that
no line can hide a changed value.

The exit status is 0 if there are no unknown differences, 1 if there are, 2 for invalid input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..spec import Spec
from . import InputError
from .compare import compare
from .published import load
from .record import read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent.parent
SPEC_FILE = ROOT / "openapi" / "htc.yaml"
RECORD = ROOT / "openapi" / "PROVENANCE.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m codegen.drift", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("published", help="path or http(s) URL of the description, JSON or YAML")
    parser.add_argument(
        "--ours", type=Path, default=SPEC_FILE, help="file to use instead of openapi/htc.yaml"
    )
    parser.add_argument(
        "--record", type=Path, default=RECORD, help="file to use instead of PROVENANCE.md"
    )
    options = parser.parse_args(arguments)
    source = str(options.record)
    try:
        record = read_record(options.record.read_text(encoding="utf-8"))
        source = options.published
        differences = compare(load(source), Spec(options.ours))
    except (InputError, OSError) as error:
        print(f"drift: {source}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    unexplained = [
        difference
        for difference in differences
        if not any(line.explains(difference) for line in record)
    ]
    for difference in unexplained:
        print(difference)
    print(f"unexplained: {len(unexplained) or 'nothing'}", end="; ")
    print(f"recorded in {options.record.name}: {len(differences) - len(unexplained)}", flush=True)
    for line in record:
        if not any(line.explains(difference) for difference in differences):
            print(f"matches no difference: {line.line}", file=sys.stderr)
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
