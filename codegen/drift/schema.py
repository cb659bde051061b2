"""A schema for comparison: its alternatives, with references followed and allOf merged."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from rescalehtc._raw import is_list, is_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec import Spec

FACETS = (
    "format",
    "default",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "deprecated",
)
STRUCTURE = ("enum", "properties", "required", "items", "additionalProperties")


@dataclass(frozen=True)
class Alternative:
    """A schema with references followed, and its name if it is a component."""

    name: str | None
    shape: dict[str, Any]

    @property
    def type(self) -> str:
        """The type, or the type derived from the parts."""
        if type_ := self.shape.get("type"):
            return str(type_)
        if "properties" in self.shape or "additionalProperties" in self.shape:
            return "object"
        return "array" if "items" in self.shape else "any"

    @property
    def family(self) -> str:
        """The type, with number for integer."""
        return "number" if self.type == "integer" else self.type


@dataclass(frozen=True)
class Schema:
    """The alternatives of a schema, and whether null is one of them."""

    alternatives: list[Alternative]
    nullable: bool

    @classmethod
    def read(cls, spec: Spec, node: dict[str, Any]) -> Schema:
        """Follow references, merge allOf, and remove null from anyOf, oneOf and type."""
        shape = _own(node)
        types_ = shape.pop("type", None)
        listed: list[Any] = types_ if is_list(types_) else [types_]
        types = [item for item in listed if item != "null"]
        parts = [cls.read(spec, part) for part in node.get("allOf", [])]
        if "$ref" in node:
            parts.append(cls._component(spec, str(node["$ref"])))
        if choices := [
            cls.read(spec, item) for key in ("anyOf", "oneOf") for item in node.get(key, [])
        ]:
            flat = [alternative for choice in choices for alternative in choice.alternatives]
            parts.append(cls(flat, any(choice.nullable for choice in choices)))
        nullable = (
            node.get("nullable") is True or "null" in listed or any(p.nullable for p in parts)
        )
        alternatives: list[Alternative] = []
        for combination in product(*(part.alternatives for part in parts)):
            name = combination[0].name if len(combination) == 1 and not shape else None
            for item in types:
                shapes = [alternative.shape for alternative in combination]
                typed = {} if item is None else {"type": item}
                alternatives.append(Alternative(name, _merge([*shapes, typed, shape])))
        return cls(alternatives, nullable)

    @classmethod
    def _component(cls, spec: Spec, reference: str) -> Schema:
        name = reference.removeprefix("#/components/schemas/")
        try:
            target = spec.resolve({"$ref": reference})
        except KeyError:  # the published description may have dangling references
            return cls([Alternative(None, {"type": f"undefined {name}"})], nullable=False)
        read = cls.read(spec, target)
        if len(read.alternatives) != 1 or name not in components(spec):
            return read
        return cls([Alternative(name, read.alternatives[0].shape)], read.nullable)

    @property
    def types(self) -> str:
        """A description of the types of all alternatives."""
        return " or ".join(sorted(alternative.type for alternative in self.alternatives)) or "null"

    def __str__(self) -> str:
        return (
            " or ".join(alternative.name or alternative.type for alternative in self.alternatives)
            or "null"
        )


def components(spec: Spec) -> dict[str, Any]:
    """Return the schemas of a description by name."""
    schemas: dict[str, Any] = spec.raw.get("components", {}).get("schemas", {})
    return schemas


def _own(node: dict[str, Any]) -> dict[str, Any]:
    """Return the compared attributes of a node, converted to OpenAPI 3.1."""
    shape = {key: node[key] for key in ("type", *FACETS, *STRUCTURE) if key in node}
    if "const" in node:
        shape["enum"] = [node["const"]]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if shape.get(exclusive) is True:
            shape[exclusive] = shape.pop(bound, None)
    return shape


def _merge(shapes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for shape in shapes:
        properties = {**merged.get("properties", {}), **shape.get("properties", {})}
        required = [*merged.get("required", []), *shape.get("required", [])]
        merged |= shape
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = required
    return merged


def facet(node: dict[str, Any], name: str) -> object:
    """Return a keyword of a schema. None if it is missing, or false by default."""
    value = node.get(name)
    return None if value is False and name != "default" else value


def listed_values(shape: dict[str, Any]) -> set[str] | None:
    """Return the values of an enum without null. None if there is no enum."""
    if "enum" not in shape:
        return None
    return {str(value) for value in shape["enum"] if value is not None}


def other_values(shape: dict[str, Any]) -> dict[str, Any] | str:
    """Return the schema of additional fields, or a description of it."""
    values = shape.get("additionalProperties", True)
    if values is False:
        return "refused"
    return values if is_object(values) and values else "any"
