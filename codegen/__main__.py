"""`python -m codegen` writes the generated files. With `--check`, it only compares them."""

import argparse
import sys
from pathlib import Path

from . import (
    aio,
    commands,
    facts,
    literals,
    models,
    nulls,
    operations,
    pages,
    records,
    schema,
    types,
)

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "openapi" / "htc.yaml"


def main() -> int:
    """Write or compare the generated files."""
    parser = argparse.ArgumentParser(prog="python -m codegen", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="exit with status 1 if a file is outdated"
    )
    check: bool = parser.parse_args().check

    submit_schema = schema.generate(SPEC)
    generated = {
        ROOT / "rescalehtc" / "models.py": models.generate(SPEC, ROOT),
        ROOT / "rescalehtc" / "_wire" / "operations.py": operations.generate_constants(SPEC, ROOT),
        ROOT / "rescalehtc" / "api.py": operations.generate_functions(SPEC, ROOT),
        ROOT / "rescalehtc" / "_facts.py": facts.generate(SPEC, ROOT),
        ROOT / "rescalehtc" / "_literals.py": literals.generate(SPEC),
        ROOT / "rescalehtc" / "records.py": records.generate(SPEC, ROOT),
        ROOT / "rescalehtc" / "types.py": types.generate(SPEC, ROOT),
        ROOT / "rescalehtc" / "emulator" / "_nulls.py": nulls.generate(SPEC),
        # Editors fetch the first one by its URL, and the command line prints the second one.
        ROOT / "schema" / schema.NAME: submit_schema,
        ROOT / "rescalehtc" / "cli" / schema.NAME: submit_schema,
        ROOT / "docs" / "operations.md": pages.generate(SPEC, ROOT),
    }
    is_current = write(generated, check)
    # The generators read these files, and one of them is generated too.
    is_current &= write(aio.generate(ROOT), check)
    is_current &= write(commands.generate(ROOT / "docs" / "commands"), check)
    return 0 if is_current or not check else 1


def write(generated: dict[Path, str], check: bool) -> bool:
    """Write outdated files, or only print their names. Return whether all were up to date."""
    stale = [
        path
        for path, text in generated.items()
        if not path.exists() or path.read_bytes() != text.encode()
    ]
    for path in stale:
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} is outdated: run `make generate`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(generated[path].encode())
            print(f"wrote {name}")
    return not stale


if __name__ == "__main__":
    raise SystemExit(main())
