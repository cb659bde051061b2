"""openapi/htc.yaml -> a JSON Schema of submit files, for editors and other validators."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from rescalehtc._requests.submit_request import MAX_SPLIT_BATCH_SIZE

from .spec import Spec, reference_name

NAME = "submit.schema.json"
PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
REQUEST = "HTCJobSubmitRequest"
COPIED_KEYWORDS = (
    *("type", "description", "minimum", "maximum", "minLength", "maxLength", "pattern"),
    *("uniqueItems", "deprecated", "examples"),
)


def generate(spec_path: Path) -> str:
    """Return the text of schema/submit.schema.json."""
    definitions: dict[str, Any] = {}
    spec = Spec(spec_path)
    request = _reference(spec, REQUEST, definitions)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _address(),
        "title": "Submit file of rescalehtc",
        "description": "A submit request or a list of submit requests, for `rescalehtc submit`.",
        "anyOf": [request, {"type": "array", "minItems": 1, "items": request}],
        "$defs": definitions,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _address() -> str:
    """The URL of the schema in the project's repository."""
    urls = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["urls"]
    return f"{urls['Source'].replace('github', 'raw.githubusercontent')}/main/schema/{NAME}"


def _reference(spec: Spec, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to a component. Adds the component and its parts to the definitions."""
    if name not in definitions:
        definitions[name] = {}  # in the order of their first use
        component = spec.schemas[name]
        reference = _described(component)
        if "enum" in component:
            reference |= _enumeration(component)
        else:
            reference["additionalProperties"] = False
            reference["required"] = component.get("required", [])
            reference["properties"] = {
                field: _property(spec, name, field, schema, definitions)
                for field, schema in component["properties"].items()
            }
        definitions[name] = reference
    return {"$ref": f"#/$defs/{name}"}


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    return {keyword: schema[keyword] for keyword in COPIED_KEYWORDS if keyword in schema}


def _enumeration(schema: dict[str, Any]) -> dict[str, Any]:
    listed = {"enum": schema["enum"]}
    return {"anyOf": [listed, {"type": "string"}]} if schema.get("x-unlisted-allowed") else listed


def _property(
    spec: Spec, owner: str, field: str, schema: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    property_ = _value(spec, schema, definitions)
    if (owner, field) == (
        REQUEST,
        "batchSize",
    ):  # `submit` splits larger requests
        property_["maximum"] = MAX_SPLIT_BATCH_SIZE
        property_["description"] = f"Number of jobs, 1 to {MAX_SPLIT_BATCH_SIZE:,}."
    if first := schema.get("x-pairs"):
        property_ = _pairs(spec, property_, first, reference_name(schema["items"]), definitions)
    if field in spec.schemas[owner].get("required", []):
        return property_
    return _or_null(property_)


def _value(spec: Spec, schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    value = _described(schema)
    if "$ref" in schema:
        value |= _reference(spec, reference_name(schema), definitions)
    if "items" in schema:
        value["items"] = _value(spec, schema["items"], definitions)
    if "additionalProperties" in schema:
        value["additionalProperties"] = _value(spec, schema["additionalProperties"], definitions)
    if reserved := schema.get("x-reserved"):
        value |= _not_reserved(reserved)
    return value


def _not_reserved(reserved: dict[str, list[str]]) -> dict[str, Any]:
    """The valid names of environment variables."""
    prefixes = "|".join(map(re.escape, reserved["prefixes"]))
    parts = "|".join(map(re.escape, reserved["parts"]))
    return {
        "pattern": r"^[^=\u0000]+$",
        "not": {"anyOf": [{"enum": reserved["names"]}, {"pattern": f"^(?:{prefixes})|{parts}"}]},
    }


def _pairs(
    spec: Spec, pairs: dict[str, Any], first: str, item: str, definitions: dict[str, Any]
) -> dict[str, Any]:
    """A list of pairs or a dictionary."""
    properties = spec.schemas[item]["properties"]
    names, values = (_value(spec, properties[name], definitions) for name in (first, "value"))
    described = {"description": pairs.pop("description")}
    mapping = {
        "type": "object",
        "propertyNames": {
            key: names[key] for key in ("minLength", "pattern", "not") if key in names
        },
        "additionalProperties": {
            key: values[key] for key in ("type", "description", "pattern") if key in values
        },
        "not": {"required": [first, "value"], "maxProperties": 2},  # a single pair
    }
    return described | {"anyOf": [pairs, mapping]}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema or null. Null means "not given"."""
    described = {name: schema.pop(name) for name in ("description", "deprecated") if name in schema}
    if isinstance(schema.get("type"), str):
        return described | schema | {"type": [schema["type"], "null"]}
    choices = schema.get("anyOf", [schema])
    return described | {"anyOf": [*choices, {"type": "null"}]}
