"""Read openapi/htc.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml

from rescalehtc._raw import is_list, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class SpecOperation:
    """One operation of the description, including the parameters of its path."""

    method: str
    path: str
    definition: dict[str, Any]
    parameters: list[dict[str, Any]]

    @property
    def operation_id(self) -> str:
        """The operationId."""
        return str(self.definition["operationId"])

    @property
    def body(self) -> dict[str, Any]:
        """The schema of its body. Empty if it has none."""
        content: dict[str, Any] = self.definition.get("requestBody", {}).get("content", {})
        schema: dict[str, Any] = content.get("application/json", {}).get("schema", {})
        return schema


class _Loader(yaml.CSafeLoader):
    """Rejects duplicate keys, for which YAML readers silently use the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: list[str] = [key.value for key, _ in node.value]
        for name, (key, _) in zip(names, node.value, strict=True):
            if names.count(name) > 1:
                raise ValueError(f"duplicate key {name!r}\n{key.start_mark}")
        return super().construct_mapping(node, deep)


class Spec:
    """The description, with references resolved on demand."""

    def __init__(self, path: Path) -> None:
        self.raw: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one

    def resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        """The node, or the node that it refers to."""
        while "$ref" in node:
            target: Any = self.raw
            for key in str(node["$ref"]).removeprefix("#/").split("/"):
                target = target[key]
            node = target
        return node

    @cached_property
    def operations(self) -> list[SpecOperation]:
        """All operations in the order of the file."""
        operations: list[SpecOperation] = []
        for path, item in self.raw["paths"].items():
            for method in METHODS:
                if method in item:
                    parameters = [*item.get("parameters", []), *item[method].get("parameters", [])]
                    resolved = [self.resolve(parameter) for parameter in parameters]
                    operations.append(SpecOperation(method.upper(), path, item[method], resolved))
        return operations

    def operation(self, operation_id: str) -> SpecOperation:
        """The operation with an id."""
        return next(
            operation for operation in self.operations if operation.operation_id == operation_id
        )

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """The components that are schemas, by name."""
        schemas: dict[str, dict[str, Any]] = self.raw["components"]["schemas"]
        return schemas

    def properties(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """All properties of components: the component's name, the property's name, its schema."""
        for component, schema in self.schemas.items():
            for name, property_schema in schema.get("properties", {}).items():
                yield component, name, property_schema

    def success_schema(self, operation: SpecOperation) -> tuple[str, dict[str, Any]] | None:
        """The media type and schema of a successful response. None if it has no body."""
        for status, answer in operation.definition["responses"].items():
            if status.startswith("2"):
                for media_type, content in self.resolve(answer).get("content", {}).items():
                    return media_type, content["schema"]
        return None

    def request_components(self) -> set[str]:
        """The names of the object components of requests.

        Raises:
            ValueError: A component is used in requests and responses, but one class can't be both
                strict and tolerant.
        """
        sent: set[str] = set()
        received: set[str] = set()
        for operation in self.operations:
            sent |= self._components(operation.definition.get("requestBody", {}))
            received |= self._components(operation.definition["responses"])
        if shared := sent & received:
            raise ValueError(f"split for request and response: {', '.join(sorted(shared))}")
        return sent

    def _components(self, node: object) -> set[str]:
        names: set[str] = set()
        pending = [node]
        while pending:
            for reference in _references(pending.pop()):
                name = reference.rsplit("/", 1)[-1]
                target = self.resolve({"$ref": reference})
                if reference.startswith("#/components/schemas/"):
                    if name in names or target.get("type") != "object":
                        continue
                    names.add(name)
                pending.append(target)
        return names


def reference_name(node: dict[str, Any]) -> str:
    """The name of the component that a node refers to."""
    return str(node["$ref"]).rsplit("/", 1)[-1]


def _references(node: object) -> Iterator[str]:
    if is_object(node) and "$ref" in node:
        yield str(node["$ref"])
    elif is_object(node) or is_list(node):
        for value in node.values() if is_object(node) else node:
            yield from _references(value)
