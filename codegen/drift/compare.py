"""Compare two descriptions: operations by method and path, schemas by the places that use them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import InputError
from .schema import FACETS, Alternative, Schema, components, facet, listed_values, other_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..spec import Spec

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PARAMETER_ATTRIBUTES = ("deprecated", "style", "explode")


@dataclass(frozen=True)
class Place:
    """The place of a difference: a component or a part of an operation, and a path in it."""

    base: str
    way: str = ""
    local_name: str = ""

    def below(self, step: str) -> Place:
        """The place after one more step."""
        return replace(self, way=self.way + step)

    def __str__(self) -> str:
        return f"{self.base}{self.way}{self.local_name and f' ({self.local_name})'}"


@dataclass(frozen=True)
class Difference:
    """A difference and its place."""

    place: str
    text: str

    def __str__(self) -> str:
        line = f"{self.place}: {self.text}"
        return line if line.isprintable() else line.encode("unicode_escape").decode()

    @property
    def order(self) -> tuple[str, ...]:
        """Operations by path, then components by name."""
        operation, _, rest = self.place.partition(": ")
        method, _, path = operation.partition(" ")
        if path.startswith("/"):
            return (path, method, rest, self.text)
        return ("~", self.place, self.text)


class Comparison:
    """Compares two descriptions and collects the differences."""

    def __init__(self, published: Spec, local: Spec) -> None:
        self._published = published
        self._local = local
        self._differences: set[Difference] = set()
        self._paired: set[tuple[str, str, bool]] = set()

    def differences(self) -> list[Difference]:
        """All differences, in order."""
        published, local = dict(_operations(self._published)), dict(_operations(self._local))
        for operation in published.keys() | local.keys():
            if operation not in local:
                self._add(operation, "new there")
            elif operation not in published:
                self._add(operation, "not there")
            else:
                self._operation(operation, published[operation], local[operation])
        self._other_components()
        return sorted(self._differences, key=lambda difference: difference.order)

    def _add(self, place: Place | str, text: str) -> None:
        self._differences.add(Difference(str(place), text))

    def _either(self, place: Place | str, name: str, published: object, local: object) -> None:
        if published != local:
            self._add(place, f"{name} there {_text(published)}, here {_text(local)}")

    def _required(self, place: Place | str, published: object, local: object) -> None:
        if bool(published) != bool(local):
            self._add(
                place,
                "required there, optional here" if published else "optional there, required here",
            )

    def _operation(self, name: str, published: dict[str, Any], local: dict[str, Any]) -> None:
        self._either(name, "deprecated", facet(published, "deprecated"), facet(local, "deprecated"))
        self._parameters(name, published["parameters"], local["parameters"])
        self._body(f"{name}: body", published.get("requestBody"), local.get("requestBody"))
        published_items = {
            str(status): answer for status, answer in published.get("responses", {}).items()
        }
        local_items = {str(status): answer for status, answer in local.get("responses", {}).items()}
        for status in published_items.keys() | local_items.keys():
            place = f"{name}: answer {status}"
            if status not in local_items:
                self._add(place, "new there")
            elif status not in published_items:
                self._add(place, "not there")
            else:
                answers = (
                    self._published.resolve(published_items[status]),
                    self._local.resolve(local_items[status]),
                )
                self._content(place, *answers, is_sent=False)

    def _parameters(
        self, operation: str, published: list[dict[str, Any]], local: list[dict[str, Any]]
    ) -> None:
        published_items = {f"{item['in']} parameter {item['name']}": item for item in published}
        local_items = {f"{item['in']} parameter {item['name']}": item for item in local}
        for name in published_items.keys() | local_items.keys():
            place = f"{operation}: {name}"
            if name not in local_items:
                schema = Schema.read(self._published, _parameter_schema(published_items[name]))
                required = ", required" if published_items[name].get("required") else ""
                self._add(place, f"new there ({schema}{required})")
            elif name not in published_items:
                self._add(place, "not there")
            else:
                item, other = published_items[name], local_items[name]
                self._required(place, item.get("required"), other.get("required"))
                for attribute in PARAMETER_ATTRIBUTES:
                    self._either(place, attribute, item.get(attribute), other.get(attribute))
                schemas = _parameter_schema(item), _parameter_schema(other)
                self._schemas(Place(place), *schemas, is_sent=True)

    def _body(
        self, place: str, published: dict[str, Any] | None, local: dict[str, Any] | None
    ) -> None:
        if published is None or local is None:
            if published is not local:
                self._add(place, "not there" if published is None else "new there")
            return
        published, local = self._published.resolve(published), self._local.resolve(local)
        self._required(place, published.get("required"), local.get("required"))
        self._content(place, published, local, is_sent=True)

    def _content(
        self, place: str, published: dict[str, Any], local: dict[str, Any], *, is_sent: bool
    ) -> None:
        published_items: dict[str, Any] = published.get("content", {})
        local_items: dict[str, Any] = local.get("content", {})
        media_types = [
            ", ".join(sorted(content)) or None for content in (published_items, local_items)
        ]
        self._either(place, "content", *media_types)
        for media_type, content in published_items.items():
            # If both sides have only one component, they match even with different names.
            only = local_items if len(local_items) == len(published_items) == 1 else {}
            partner = local_items.get(media_type, next(iter(only.values()), None))
            if partner is not None:
                schemas = content.get("schema", {}), partner.get("schema", {})
                self._schemas(Place(place), *schemas, is_sent=is_sent)

    def _schemas(
        self,
        place: Place,
        published_node: dict[str, Any],
        local_node: dict[str, Any],
        *,
        is_sent: bool,
    ) -> None:
        published = Schema.read(self._published, published_node)
        local = Schema.read(self._local, local_node)
        if published.nullable != local.nullable:
            self._add(
                place, "null there, not here" if published.nullable else "null here, not there"
            )
        self._either(place, "type", published.types, local.types)
        for candidate in published.alternatives:
            for other in local.alternatives:
                if candidate.family == other.family:
                    self._alternatives(place, candidate, other, is_sent=is_sent)
                    break

    def _alternatives(
        self, place: Place, published: Alternative, local: Alternative, *, is_sent: bool
    ) -> None:
        if published.name and local.name:
            self._either(place, "component", published.name, local.name)
            if (pair := (published.name, local.name, is_sent)) in self._paired:
                return
            self._paired.add(pair)
            place = Place(
                published.name, local_name=local.name if local.name != published.name else ""
            )
        elif published.name and published.name not in components(self._local):
            self._add(published.name, "not a component here")
        elif local.name and local.name not in components(self._published):
            self._add(local.name, "not a component there")
        self._facets(place, published.shape, local.shape)
        if published.type == "object":
            self._fields(place, published.shape, local.shape, is_sent=is_sent)
            self._other_fields(place, published.shape, local.shape, is_sent=is_sent)
        if published.type == "array":
            items = published.shape.get("items", {}), local.shape.get("items", {})
            self._schemas(place.below("[]"), *items, is_sent=is_sent)

    def _facets(self, place: Place, published: dict[str, Any], local: dict[str, Any]) -> None:
        for name in FACETS:
            published_items, local_items = facet(published, name), facet(local, name)
            if name == "default":  # the defaults "100" and 100 are different
                published_items, local_items = (
                    None if v is None else _json(v) for v in (published_items, local_items)
                )
            self._either(place, name, published_items, local_items)
        published_items, local_items = listed_values(published), listed_values(local)
        if published_items is None or local_items is None:
            both = [
                values and ", ".join(sorted(values)) for values in (published_items, local_items)
            ]
            self._either(place, "values", *both)
            return
        for value in published_items - local_items:
            self._add(f"{place}: value {value}", "new there")
        for value in local_items - published_items:
            self._add(f"{place}: value {value}", "not there")

    def _fields(
        self, place: Place, published: dict[str, Any], local: dict[str, Any], *, is_sent: bool
    ) -> None:
        published_items: dict[str, Any] = published.get("properties", {})
        local_items: dict[str, Any] = local.get("properties", {})
        excluded = "readOnly" if is_sent else "writeOnly"
        for name in published_items.keys() | local_items.keys():
            at = place.below(f".{name}")
            if name not in published_items:
                self._add(at, f"not there (here {Schema.read(self._local, local_items[name])})")
                continue
            left_out = published_items[name].get(excluded) is True
            if name not in local_items:
                if not left_out:
                    self._add(
                        at, f"new there ({Schema.read(self._published, published_items[name])})"
                    )
                continue
            if left_out:
                self._add(at, "read-only there" if is_sent else "write-only there")
            required = name in published.get("required", []), name in local.get("required", [])
            self._required(at, *required)
            self._schemas(at, published_items[name], local_items[name], is_sent=is_sent)

    def _other_fields(
        self, place: Place, published: dict[str, Any], local: dict[str, Any], *, is_sent: bool
    ) -> None:
        published_items, local_items = other_values(published), other_values(local)
        if isinstance(published_items, dict) and isinstance(local_items, dict):
            self._schemas(place.below("{}"), published_items, local_items, is_sent=is_sent)
        else:
            schemas = [
                Schema.read(spec, values) if isinstance(values, dict) else values
                for spec, values in ((self._published, published_items), (self._local, local_items))
            ]
            self._either(place, "other fields", *map(str, schemas))

    def _other_components(self) -> None:
        """Components that no operation has matched with one of ours."""
        seen = {published for published, _, _ in self._paired}
        requests = self._local.request_components()
        for name in sorted(components(self._published).keys() - seen):
            reference = {"$ref": f"#/components/schemas/{name}"}
            if name in components(self._local):
                self._schemas(Place(name), reference, reference, is_sent=name in requests)
            elif Difference(name, "not a component here") not in self._differences:
                types = Schema.read(self._published, reference).types
                self._add(name, f"matches nothing here ({types})")


def compare(published: Spec, local: Spec) -> list[Difference]:
    """All differences, known or not, in order.

    Raises:
        InputError: A description is malformed.
    """
    try:
        return Comparison(published, local).differences()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        # The published file may be malformed in any way. `make check` validates ours.
        raise InputError(f"is malformed: {type(error).__name__}: {error}") from error


def _operations(spec: Spec) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation's name and definition, including the parameters of its path."""
    for path, node in spec.raw["paths"].items():
        item = spec.resolve(node)
        for method in METHODS:
            if method in item:
                listed = [*item.get("parameters", []), *item[method].get("parameters", [])]
                parameters = [spec.resolve(parameter) for parameter in listed]
                yield f"{method.upper()} {path}", {**item[method], "parameters": parameters}


def _parameter_schema(parameter: dict[str, Any]) -> dict[str, Any]:
    for described in (parameter, *parameter.get("content", {}).values()):
        if "schema" in described:
            schema: dict[str, Any] = described["schema"]
            return schema
    return {}


def _text(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, default=str)  # YAML has dates
