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
    ours: str = ""

    def below(self, step: str) -> Place:
        """The place after one more step."""
        return replace(self, way=self.way + step)

    def __str__(self) -> str:
        return f"{self.base}{self.way}{self.ours and f' ({self.ours})'}"


@dataclass(frozen=True)
class Difference:
    """A difference and its place."""

    place: str
    what: str

    def __str__(self) -> str:
        line = f"{self.place}: {self.what}"
        return line if line.isprintable() else line.encode("unicode_escape").decode()

    @property
    def order(self) -> tuple[str, ...]:
        """Operations by path, then components by name."""
        operation, _, rest = self.place.partition(": ")
        method, _, path = operation.partition(" ")
        if path.startswith("/"):
            return (path, method, rest, self.what)
        return ("~", self.place, self.what)


class Comparison:
    """Compares two descriptions and collects the differences."""

    def __init__(self, there: Spec, here: Spec) -> None:
        self._there = there
        self._here = here
        self._found: set[Difference] = set()
        self._paired: set[tuple[str, str, bool]] = set()

    def differences(self) -> list[Difference]:
        """All differences, in order."""
        there, here = dict(_operations(self._there)), dict(_operations(self._here))
        for operation in there.keys() | here.keys():
            if operation not in here:
                self._add(operation, "new there")
            elif operation not in there:
                self._add(operation, "not there")
            else:
                self._operation(operation, there[operation], here[operation])
        self._other_components()
        return sorted(self._found, key=lambda difference: difference.order)

    def _add(self, place: Place | str, what: str) -> None:
        self._found.add(Difference(str(place), what))

    def _either(self, place: Place | str, name: str, there: object, here: object) -> None:
        if there != here:
            self._add(place, f"{name} there {_text(there)}, here {_text(here)}")

    def _required(self, place: Place | str, there: object, here: object) -> None:
        if bool(there) != bool(here):
            self._add(
                place,
                "required there, optional here" if there else "optional there, required here",
            )

    def _operation(self, name: str, there: dict[str, Any], here: dict[str, Any]) -> None:
        self._either(name, "deprecated", facet(there, "deprecated"), facet(here, "deprecated"))
        self._parameters(name, there["parameters"], here["parameters"])
        self._body(f"{name}: body", there.get("requestBody"), here.get("requestBody"))
        theirs = {str(status): answer for status, answer in there.get("responses", {}).items()}
        ours = {str(status): answer for status, answer in here.get("responses", {}).items()}
        for status in theirs.keys() | ours.keys():
            place = f"{name}: answer {status}"
            if status not in ours:
                self._add(place, "new there")
            elif status not in theirs:
                self._add(place, "not there")
            else:
                answers = self._there.resolve(theirs[status]), self._here.resolve(ours[status])
                self._content(place, *answers, sent=False)

    def _parameters(
        self, operation: str, there: list[dict[str, Any]], here: list[dict[str, Any]]
    ) -> None:
        theirs = {f"{one['in']} parameter {one['name']}": one for one in there}
        ours = {f"{one['in']} parameter {one['name']}": one for one in here}
        for name in theirs.keys() | ours.keys():
            place = f"{operation}: {name}"
            if name not in ours:
                schema = Schema.read(self._there, _parameter_schema(theirs[name]))
                required = ", required" if theirs[name].get("required") else ""
                self._add(place, f"new there ({schema}{required})")
            elif name not in theirs:
                self._add(place, "not there")
            else:
                one, other = theirs[name], ours[name]
                self._required(place, one.get("required"), other.get("required"))
                for attribute in PARAMETER_ATTRIBUTES:
                    self._either(place, attribute, one.get(attribute), other.get(attribute))
                schemas = _parameter_schema(one), _parameter_schema(other)
                self._schemas(Place(place), *schemas, sent=True)

    def _body(self, place: str, there: dict[str, Any] | None, here: dict[str, Any] | None) -> None:
        if there is None or here is None:
            if there is not here:
                self._add(place, "not there" if there is None else "new there")
            return
        there, here = self._there.resolve(there), self._here.resolve(here)
        self._required(place, there.get("required"), here.get("required"))
        self._content(place, there, here, sent=True)

    def _content(
        self, place: str, there: dict[str, Any], here: dict[str, Any], *, sent: bool
    ) -> None:
        theirs: dict[str, Any] = there.get("content", {})
        ours: dict[str, Any] = here.get("content", {})
        media_types = [", ".join(sorted(content)) or None for content in (theirs, ours)]
        self._either(place, "content", *media_types)
        for media_type, content in theirs.items():
            # If both sides have only one component, they match even with different names.
            only = ours if len(ours) == len(theirs) == 1 else {}
            partner = ours.get(media_type, next(iter(only.values()), None))
            if partner is not None:
                schemas = content.get("schema", {}), partner.get("schema", {})
                self._schemas(Place(place), *schemas, sent=sent)

    def _schemas(
        self, place: Place, there_node: dict[str, Any], here_node: dict[str, Any], *, sent: bool
    ) -> None:
        there = Schema.read(self._there, there_node)
        here = Schema.read(self._here, here_node)
        if there.nullable != here.nullable:
            self._add(place, "null there, not here" if there.nullable else "null here, not there")
        self._either(place, "type", there.types, here.types)
        for one in there.alternatives:
            for other in here.alternatives:
                if one.family == other.family:
                    self._alternatives(place, one, other, sent=sent)
                    break

    def _alternatives(
        self, place: Place, there: Alternative, here: Alternative, *, sent: bool
    ) -> None:
        if there.name and here.name:
            self._either(place, "component", there.name, here.name)
            if (pair := (there.name, here.name, sent)) in self._paired:
                return
            self._paired.add(pair)
            place = Place(there.name, ours=here.name if here.name != there.name else "")
        elif there.name and there.name not in components(self._here):
            self._add(there.name, "not a component here")
        elif here.name and here.name not in components(self._there):
            self._add(here.name, "not a component there")
        self._facets(place, there.shape, here.shape)
        if there.type == "object":
            self._fields(place, there.shape, here.shape, sent=sent)
            self._other_fields(place, there.shape, here.shape, sent=sent)
        if there.type == "array":
            items = there.shape.get("items", {}), here.shape.get("items", {})
            self._schemas(place.below("[]"), *items, sent=sent)

    def _facets(self, place: Place, there: dict[str, Any], here: dict[str, Any]) -> None:
        for name in FACETS:
            theirs, ours = facet(there, name), facet(here, name)
            if name == "default":  # the defaults "100" and 100 are different
                theirs, ours = (None if v is None else _json(v) for v in (theirs, ours))
            self._either(place, name, theirs, ours)
        theirs, ours = listed_values(there), listed_values(here)
        if theirs is None or ours is None:
            both = [values and ", ".join(sorted(values)) for values in (theirs, ours)]
            self._either(place, "values", *both)
            return
        for value in theirs - ours:
            self._add(f"{place}: value {value}", "new there")
        for value in ours - theirs:
            self._add(f"{place}: value {value}", "not there")

    def _fields(
        self, place: Place, there: dict[str, Any], here: dict[str, Any], *, sent: bool
    ) -> None:
        theirs: dict[str, Any] = there.get("properties", {})
        ours: dict[str, Any] = here.get("properties", {})
        apart = "readOnly" if sent else "writeOnly"
        for name in theirs.keys() | ours.keys():
            at = place.below(f".{name}")
            if name not in theirs:
                self._add(at, f"not there (here {Schema.read(self._here, ours[name])})")
                continue
            left_out = theirs[name].get(apart) is True
            if name not in ours:
                if not left_out:
                    self._add(at, f"new there ({Schema.read(self._there, theirs[name])})")
                continue
            if left_out:
                self._add(at, "read-only there" if sent else "write-only there")
            required = name in there.get("required", []), name in here.get("required", [])
            self._required(at, *required)
            self._schemas(at, theirs[name], ours[name], sent=sent)

    def _other_fields(
        self, place: Place, there: dict[str, Any], here: dict[str, Any], *, sent: bool
    ) -> None:
        theirs, ours = other_values(there), other_values(here)
        if isinstance(theirs, dict) and isinstance(ours, dict):
            self._schemas(place.below("{}"), theirs, ours, sent=sent)
        else:
            schemas = [
                Schema.read(spec, values) if isinstance(values, dict) else values
                for spec, values in ((self._there, theirs), (self._here, ours))
            ]
            self._either(place, "other fields", *map(str, schemas))

    def _other_components(self) -> None:
        """Components that no operation has matched with one of ours."""
        seen = {there for there, _, _ in self._paired}
        requests = self._here.request_components()
        for name in sorted(components(self._there).keys() - seen):
            reference = {"$ref": f"#/components/schemas/{name}"}
            if name in components(self._here):
                self._schemas(Place(name), reference, reference, sent=name in requests)
            elif Difference(name, "not a component here") not in self._found:
                types = Schema.read(self._there, reference).types
                self._add(name, f"matches nothing here ({types})")


def compare(there: Spec, here: Spec) -> list[Difference]:
    """All differences, known or not, in order.

    Raises:
        InputError: A description is malformed.
    """
    try:
        return Comparison(there, here).differences()
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
