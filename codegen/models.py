"""openapi/htc.yaml -> rescalehtc/models.py, by datamodel-code-generator.

Its options are in pyproject.toml. This module determines which classes are requests, the types of
fields with enumerations, and the docstrings of members.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .operations import DIR, formatted
from .spec import Spec

REQUEST = "rescalehtc._model_base.Request"


def generate(spec_path: Path, root: Path) -> str:
    """Return the text of rescalehtc/models.py."""
    spec = Spec(spec_path)
    requests = sorted(spec.request_components())
    with tempfile.TemporaryDirectory(dir=root) as folder:  # in root, for the formatters' settings
        output = Path(folder) / "models.py"
        subprocess.run(
            [
                *(sys.executable, "-m", "datamodel_code_generator"),
                *("--input", str(spec_path), "--output", str(output)),
                *("--base-class-map", json.dumps(dict.fromkeys(requests, REQUEST))),
            ],
            check=True,
            cwd=root,
        )
        text = _without_root_models(output.read_text(encoding="utf-8"))
    enumerations, objects = re.split(r"(?=class \w+\((?:Request|Record)\))", text, maxsplit=1)
    text = _with_member_docstrings(spec, enumerations) + _open(spec, objects)
    text = text.replace("import EnvName,", "import EnvName, OrStr,")
    text = text.replace("import Annotated, Any", "import TYPE_CHECKING, Annotated, Any, TypeAlias")
    header, classes = re.split(r"(?=\n\n\nclass )", text, maxsplit=1)
    text = f"{header}\n\n__all__ = {sorted(spec.schemas)!r}\n{DIR}{classes}"
    return formatted(text, root)


def _without_root_models(text: str) -> str:
    """Replace the classes of constrained items with their annotated types."""
    pattern = re.compile(r"class (\w+)\(RootModel\[str\]\):\n    root: (Annotated\[.*\])\n+")
    for name, kind in pattern.findall(text):
        text = text.replace(f"[{name}]", f"[{kind}]")
    return pattern.sub("", text).replace("import Field, RootModel", "import Field")


def _open(spec: Spec, objects: str) -> str:
    """Make type checkers accept any string for a field with an enumeration."""
    names = "|".join(name for name, schema in spec.schemas.items() if "enum" in schema)
    value = rf"\b({names})\b(?=\s*[|\],])"
    text = ""
    enumerations: set[str] = set()
    for part in re.split(r"(?=class \w+\()", objects):
        if "(Request):" in part:
            enumerations.update(re.findall(value, part))
            part = re.sub(rf"\blist\[({names})\]", r"list[\1] | list[\1Value]", part)
            part = re.sub(rf"(?<!list\[){value}", r"\1Value", part)
        else:
            part = re.sub(value, r"OrStr[\1]", part)
        text += part
    return _values(sorted(enumerations)) + text


def _values(names: list[str]) -> str:
    """The types of request fields, whose values editors complete."""
    seen = "".join(f"    {name}Value: TypeAlias = {name} | _literals.{name}\n" for name in names)
    real = "".join(f"    {name}Value = {name}\n" for name in names)
    imported = "    from rescalehtc import _literals\n\n"
    return f"if TYPE_CHECKING:\n{imported}{seen}else:\n{real}\n\n"


def _with_member_docstrings(spec: Spec, enumerations: str) -> str:
    for name, schema in spec.schemas.items():
        for value in schema.get("enum", ()):
            member = rf'(?<=class {name}\(StrEnum\))(.*?\n    \w+ = "{value}"\n)'
            docstring = f'\\1    """{_meaning(spec, schema, value)}"""\n'
            enumerations = re.sub(member, docstring, enumerations, flags=re.DOTALL)
    return enumerations


def _meaning(spec: Spec, schema: dict[str, Any], value: str) -> str:
    described: dict[str, str] = schema.get("x-meanings", {})
    if value in described:
        return described[value]
    clouds: dict[str, str] = spec.schemas["CloudProvider"]["x-meanings"]
    cloud = clouds[value.split("_")[0]]
    return cloud if value in clouds else f"A region of {cloud}"
