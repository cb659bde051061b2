"""The JSON Schema of submit files agrees with `htcjobs.validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rescalehtc import htcjobs

SCHEMA = Path(__file__).resolve().parent.parent / "schema" / "submit.schema.json"
DEFINITION = {"imageName": "python:3"}
REQUEST = {"htcJobDefinition": DEFINITION}

GOOD: list[dict[str, Any]] = [
    {},
    {"jobName": "a", "batchSize": 5000, "regions": ["AWS_US_EAST_1", "MARS_1"]},
    {"batchSize": None, "regions": None, "tags": {"study": "wing"}, "cloudProvider": "GCP"},
    {"tags": [{"key": "a"}], "retryStrategy": {"maxRetries": 3}, "experimental": {}},
    {"htcJobDefinition": {**DEFINITION, "envs": {"A": "1"}, "claims": {"case": "7"}}},
    {"htcJobDefinition": {**DEFINITION, "envs": {"name": "x", "value": "y", "third": "z"}}},
    {"htcJobDefinition": {**DEFINITION, "envs": [{"name": "A", "value": ""}], "commands": None}},
    {"htcJobDefinition": {"imageName": "a/b:1", "architecture": "A100", "workingDir": "/x"}},
]
BAD: list[dict[str, Any]] = [
    {"htcJobDefinition": None},
    {"htcJobDefinition": {}},
    {"batchSize": 0},
    {"batchSize": "3"},
    {"batchSize": True},
    {"batchSize": 10_000_001},
    {"job": "a"},
    {"jobName": 7},
    {"regions": ["AWS_US_EAST_1", "AWS_US_EAST_1"]},
    {"regions": "AWS_US_EAST_1"},
    {"cloudProvider": "MARS"},
    {"retryStrategy": {"maxRetries": 11}},
    {"experimental": {"fast": True}},
    {"tags": {"a": 1}},
    *(
        {"htcJobDefinition": {**DEFINITION, **wrong}}
        for wrong in [
            {"imageName": "two words"},
            {"imageName": "Upper:1"},
            {"commands": ["sleep", 5]},
            {"commands": "sleep 5"},
            {"maxVCpus": 65},
            {"maxMemry": 100},
            {"execTimeoutSeconds": 59},
            {"priority": "CHEAP"},
            {"architecture": "H100"},
            {"tags": {"a": None}},
            {"envs": {"A=": "1"}},
            {"envs": {"": "1"}},
            {"envs": {"AWS_BATCH_X": "1"}},
            {"envs": {"MY_AWS_BATCH_X": "1"}},
            {"envs": {"RESCALE_HTC_REGION": "1"}},
            {"envs": {"name": "A", "value": "1"}},
            {"envs": [{"name": "RDF_X", "value": "1"}]},
            {"envs": [{"name": "A"}]},
            {"claims": [{"name": "a", "value": 1}]},
        ]
    ),
]


@pytest.fixture(scope="module")
def accepts() -> Any:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_it_accepts_what_is_valid(accepts: Any, change: dict[str, Any]) -> None:
    request = REQUEST | change
    assert htcjobs.validate([request]) == []
    assert accepts(request)
    assert accepts([request, request])


@pytest.mark.parametrize("change", BAD, ids=str)
def test_it_refuses_what_is_not(accepts: Any, change: dict[str, Any]) -> None:
    request = REQUEST | change
    assert htcjobs.validate([request])
    assert not accepts(request)
    assert not accepts([REQUEST, request])


@pytest.mark.parametrize("file", [[], None, "jobs", [[]]])
def test_a_file_holds_a_request_or_a_list_of_them(accepts: Any, file: object) -> None:
    assert not accepts(file)


def test_each_field_and_object_has_a_description() -> None:
    definitions = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    for definition in definitions.values():
        assert definition["description"]
        for field in definition.get("properties", {}).values():
            assert field["description"]
