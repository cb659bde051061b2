"""A published description against openapi/htc.yaml: what is new, gone or different there.

    python -m codegen.drift PATH-OR-URL

Operations are matched by method and path, and schemas by where they are used, so that it
doesn't matter which of them have names. A component published once and split here is
compared twice: its fields that aren't read-only with our request, those that aren't
write-only with our response. Each difference is a line, `place: what differs`.

openapi/PROVENANCE.md is the record of the deliberate ones: the lines of its blocks marked
`drift` are left out. `*` in a line stands for anything in the place, but never in what
differs, so that no line can hide a changed value.

The exit status is 0 if nothing is unexplained, 1 if something is, 2 for bad input.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from .spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parent.parent
OURS = ROOT / "openapi" / "htc.yaml"
RECORD = ROOT / "openapi" / "PROVENANCE.md"

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
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
PARAMETER_ATTRIBUTES = ("deprecated", "style", "explode")
# A paragraph that gives a reason ends with how surely it is known.
REASON = re.compile(r"\([SCI\u2013](?:, [SCI])*\)\.?$")


class InputError(Exception):
    """What was given can't be compared; the text says why in one line."""


@dataclass(frozen=True)
class Place:
    """Where a difference is: a component or a part of an operation, and the way from there."""

    base: str
    way: str = ""
    ours: str = ""

    def below(self, step: str) -> Place:
        """The place one step on."""
        return replace(self, way=self.way + step)

    def __str__(self) -> str:
        return f"{self.base}{self.way}{self.ours and f' ({self.ours})'}"


@dataclass(frozen=True)
class Difference:
    """What differs, and where."""

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


@dataclass(frozen=True)
class Explanation:
    """A line of the record."""

    line: str

    def explains(self, difference: Difference) -> bool:
        """Whether the difference is the one, or one of those, that the line is about."""
        place = self.line.removesuffix(f": {difference.what}")
        if place == self.line:
            return False
        pattern = ".*".join(re.escape(part) for part in place.split("*"))
        return re.fullmatch(pattern, difference.place) is not None


@dataclass(frozen=True)
class Alternative:
    """A schema with references followed; its name, if it is a component as it stands."""

    name: str | None
    shape: dict[str, Any]

    @property
    def type(self) -> str:
        """Its type; where none is given, what its parts tell."""
        if given := self.shape.get("type"):
            return str(given)
        if "properties" in self.shape or "additionalProperties" in self.shape:
            return "object"
        return "array" if "items" in self.shape else "any"

    @property
    def family(self) -> str:
        """Its type, where an integer is a number."""
        return "number" if self.type == "integer" else self.type


@dataclass(frozen=True)
class Schema:
    """The alternatives that a schema allows, and whether null is one more."""

    alternatives: list[Alternative]
    nullable: bool

    @classmethod
    def read(cls, spec: Spec, node: dict[str, Any]) -> Schema:
        """Follow references, merge allOf, and take null out of anyOf, oneOf and type."""
        own = _own(node)
        given = own.pop("type", None)
        listed: list[Any] = list(given) if isinstance(given, list) else [given]  # pyright: ignore[reportUnknownArgumentType]
        types = [one for one in listed if one != "null"]
        parts = [cls.read(spec, part) for part in node.get("allOf", [])]
        if "$ref" in node:
            parts.append(cls._component(spec, str(node["$ref"])))
        if choices := [
            cls.read(spec, one) for key in ("anyOf", "oneOf") for one in node.get(key, [])
        ]:
            flat = [alternative for choice in choices for alternative in choice.alternatives]
            parts.append(cls(flat, any(choice.nullable for choice in choices)))
        nullable = (
            node.get("nullable") is True or "null" in listed or any(p.nullable for p in parts)
        )
        alternatives: list[Alternative] = []
        for combination in product(*(part.alternatives for part in parts)):
            name = combination[0].name if len(combination) == 1 and not own else None
            for one in types:
                shapes = [alternative.shape for alternative in combination]
                typed = {} if one is None else {"type": one}
                alternatives.append(Alternative(name, _merged([*shapes, typed, own])))
        return cls(alternatives, nullable)

    @classmethod
    def _component(cls, spec: Spec, reference: str) -> Schema:
        name = reference.removeprefix("#/components/schemas/")
        try:
            target = spec.resolve({"$ref": reference})
        except KeyError:  # published all the same
            return cls([Alternative(None, {"type": f"undefined {name}"})], nullable=False)
        read = cls.read(spec, target)
        if len(read.alternatives) != 1 or name not in _components(spec):
            return read
        return cls([Alternative(name, read.alternatives[0].shape)], read.nullable)

    @property
    def types(self) -> str:
        """The types of all alternatives, in words."""
        return " or ".join(sorted(one.type for one in self.alternatives)) or "null"

    def __str__(self) -> str:
        return " or ".join(one.name or one.type for one in self.alternatives) or "null"


class Comparison:
    """Two descriptions side by side, and what was found to differ."""

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
        self._either(name, "deprecated", _facet(there, "deprecated"), _facet(here, "deprecated"))
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
            # Under different names, the only one there and the only one here are still the same.
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
        elif there.name and there.name not in _components(self._here):
            self._add(there.name, "not a component here")
        elif here.name and here.name not in _components(self._there):
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
            theirs, ours = _facet(there, name), _facet(here, name)
            if name == "default":  # "100" is another default than 100
                theirs, ours = (None if v is None else _json(v) for v in (theirs, ours))
            self._either(place, name, theirs, ours)
        theirs, ours = _values(there), _values(here)
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
        theirs, ours = _other_values(there), _other_values(here)
        if isinstance(theirs, dict) and isinstance(ours, dict):
            self._schemas(place.below("{}"), theirs, ours, sent=sent)
        else:
            schemas = [
                Schema.read(spec, values) if isinstance(values, dict) else values
                for spec, values in ((self._there, theirs), (self._here, ours))
            ]
            self._either(place, "other fields", *map(str, schemas))

    def _other_components(self) -> None:
        """Components that no operation brought together with one of ours, but for the name."""
        seen = {there for there, _, _ in self._paired}
        requests = self._here.request_components()
        for name in sorted(_components(self._there).keys() - seen):
            reference = {"$ref": f"#/components/schemas/{name}"}
            if name in _components(self._here):
                self._schemas(Place(name), reference, reference, sent=name in requests)
            elif Difference(name, "not a component here") not in self._found:
                types = Schema.read(self._there, reference).types
                self._add(name, f"matches nothing here ({types})")


class Published(Spec):
    """A description from elsewhere."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw


def load(source: str) -> Published:
    """Read a description from a file or an http(s) URL.

    Raises:
        InputError: It can't be read, or is no description.
    """
    try:
        text = _fetch(source) if re.match("https?://", source) else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        raw: Any = _parse(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError("is neither JSON nor YAML") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("paths"), dict):  # pyright: ignore[reportUnknownMemberType]
        raise InputError("is no OpenAPI description: it has no paths")
    if not str(raw.get("openapi")).startswith("3."):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        raise InputError("is no description in OpenAPI 3")
    return Published(raw)  # pyright: ignore[reportUnknownArgumentType]


def read_record(text: str) -> list[Explanation]:
    """The lines of the blocks marked `drift`.

    Raises:
        InputError: A block has no reason above it, or no end.
    """
    explanations: list[Explanation] = []
    inside, before = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line == "```drift":
            if not REASON.search(before):
                raise InputError(f"line {number}: no reason, with its letter, above the block")
            inside = True
        elif line == "```":
            inside = False
        elif inside and line:
            explanations.append(Explanation(line))
        before = line or before
    if inside:
        raise InputError("the last block has no end")
    return explanations


def compare(there: Spec, here: Spec) -> list[Difference]:
    """All differences, deliberate or not, in order.

    Raises:
        InputError: A description is broken inside.
    """
    try:
        return Comparison(there, here).differences()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        # It comes from elsewhere and may be broken in any way; ours is validated by `make check`.
        raise InputError(f"is broken inside: {type(error).__name__}: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m codegen.drift", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("published", help="path or http(s) URL of the description, JSON or YAML")
    parser.add_argument("--ours", type=Path, default=OURS, help="in place of openapi/htc.yaml")
    parser.add_argument("--record", type=Path, default=RECORD, help="in place of PROVENANCE.md")
    given = parser.parse_args(arguments)
    source = str(given.record)
    try:
        record = read_record(given.record.read_text(encoding="utf-8"))
        source = given.published
        found = compare(load(source), Spec(given.ours))
    except (InputError, OSError) as error:
        print(f"drift: {source}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    unexplained = [one for one in found if not any(line.explains(one) for line in record)]
    for difference in unexplained:
        print(difference)
    print(f"unexplained: {len(unexplained) or 'nothing'}", end="; ")
    print(f"recorded in {given.record.name}: {len(found) - len(unexplained)}", flush=True)
    for line in record:
        if not any(line.explains(one) for one in found):
            print(f"explains nothing: {line.line}", file=sys.stderr)
    return 1 if unexplained else 0


def _fetch(url: str) -> bytes:
    try:
        answer = httpx.get(url, follow_redirects=True, timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not answer.is_success:
        raise ValueError(f"the server answers {answer.status_code}")
    return answer.content


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _operations(spec: Spec) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation's name and definition, with the parameters of its path merged in."""
    for path, node in spec.raw["paths"].items():
        item = spec.resolve(node)
        for method in METHODS:
            if method in item:
                listed = [*item.get("parameters", []), *item[method].get("parameters", [])]
                parameters = [spec.resolve(parameter) for parameter in listed]
                yield f"{method.upper()} {path}", {**item[method], "parameters": parameters}


def _components(spec: Spec) -> dict[str, Any]:
    schemas: dict[str, Any] = spec.raw.get("components", {}).get("schemas", {})
    return schemas


def _parameter_schema(parameter: dict[str, Any]) -> dict[str, Any]:
    for described in (parameter, *parameter.get("content", {}).values()):
        if "schema" in described:
            schema: dict[str, Any] = described["schema"]
            return schema
    return {}


def _own(node: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a node, in the words of OpenAPI 3.1."""
    own = {key: node[key] for key in ("type", *FACETS, *STRUCTURE) if key in node}
    if "const" in node:
        own["enum"] = [node["const"]]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if own.get(exclusive) is True:
            own[exclusive] = own.pop(bound, None)
    return own


def _merged(shapes: Sequence[dict[str, Any]]) -> dict[str, Any]:
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


def _facet(node: dict[str, Any], name: str) -> object:
    """The value, or None for false where that is what leaving it out means."""
    value = node.get(name)
    return None if value is False and name != "default" else value


def _values(shape: dict[str, Any]) -> set[str] | None:
    if "enum" not in shape:
        return None
    return {str(value) for value in shape["enum"] if value is not None}


def _other_values(shape: dict[str, Any]) -> dict[str, Any] | str:
    """The schema of fields that aren't listed."""
    values = shape.get("additionalProperties", True)
    if values is False:
        return "refused"
    return values if isinstance(values, dict) and values else "any"  # pyright: ignore[reportUnknownVariableType]


def _text(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, default=str)  # YAML has dates


if __name__ == "__main__":
    sys.exit(main())
