"""The generated files match the description, by the documented rules."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from codegen import facts
from codegen.spec import Spec
from rescalehtc import _facts, api, htcjobs, models, types
from rescalehtc._wire.operation import Operation

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "openapi" / "htc.yaml"

# The functions of 1.1.0, which scripts import, with their parameters.
KNOWN = {
    "get_well_known_jwks": "rescale",
    "get_auth_token": "rescale authorization_header",
    "get_auth_token_whoami": "rescale",
    "get_auth_whoami": "rescale authorization_header",
    "post_oauth_token": "rescale",
    "get_htc_gcp_clusters": "rescale workspace_id",
    "get_htc_regions": "rescale region=None",
    "get_htc_metrics": "rescale",
    "get_htc_projects": "rescale project_id=None",
    "post_htc_projects": "rescale payload",
    "get_htc_projects_dimensions": "rescale project_id",
    "put_htc_projects_dimensions": "rescale project_id payload",
    "get_htc_projects_limits": "rescale project_id id=None",
    "post_htc_projects_limits": "rescale project_id payload",
    "patch_htc_projects_limits": "rescale project_id id payload",
    "get_htc_projects_storage_presigned_url": "rescale project_id",
    "get_htc_projects_storage_token": "rescale project_id region=None",
    "get_htc_projects_storage_tokens": "rescale project_id",
    "get_htc_projects_task_retention_policy": "rescale project_id",
    "put_htc_projects_task_retention_policy": "rescale project_id payload",
    "delete_htc_projects_task_retention_policy": "rescale project_id",
    "get_htc_projects_container_registry_images": "rescale project_id image_name=None",
    "post_htc_projects_container_registry_repo": "rescale project_id repo_name",
    "get_htc_projects_container_registry_token": "rescale project_id",
    "get_htc_projects_tasks": "rescale project_id task_id=None",
    "post_htc_projects_tasks": "rescale project_id payload",
    "delete_htc_projects_tasks": "rescale project_id task_id",
    "patch_htc_projects_tasks": "rescale project_id task_id payload",
    "get_htc_projects_tasks_group_summary_statistics": "rescale project_id task_id",
    "get_htc_projects_tasks_groups": "rescale project_id task_id",
    "get_htc_projects_tasks_storage_presigned_url": "rescale project_id task_id",
    "get_htc_projects_tasks_storage_regional_storage": "rescale project_id task_id",
    "get_htc_projects_tasks_storage_token": "rescale project_id task_id region=None",
    "get_htc_projects_tasks_storage_tokens": "rescale project_id task_id",
    "get_htc_projects_tasks_summary_statistics": "rescale project_id task_id",
    "get_htc_projects_tasks_jobs": "rescale project_id task_id job_id=None",
    "post_htc_projects_tasks_jobs_batch": "rescale project_id task_id payload",
    "post_htc_projects_tasks_jobs_cancel": "rescale project_id task_id",
    "get_htc_projects_tasks_jobs_logs": "rescale project_id task_id job_id max_items=None page_size=5000",
    "get_htc_projects_tasks_jobs_events": "rescale project_id task_id job_id",
    "get_htc_storage": "rescale",
    "get_htc_storage_region": "rescale region",
    "get_htc_workspaces_dimensions": "rescale workspace_id",
    "get_htc_workspaces_limits": "rescale workspace_id",
    "get_htc_task_retention_policy": "rescale workspace_id",
    "put_htc_task_retention_policy": "rescale workspace_id payload",
}  # fmt: skip
# Functions that 1.1.0 does not have. Its version of the first one deletes all limits without an id.
ADDED = {
    "delete_htc_projects_limits": "rescale project_id id",
    "delete_all_htc_projects_limits": "rescale project_id",
    "patch_htc_projects": "rescale project_id payload",
}


def functions() -> dict[str, str]:
    """The functions of api, with their positional parameters."""
    found = {}
    for name, function in inspect.getmembers(api, inspect.isfunction):
        if function.__module__ == api.__name__:
            parameters = inspect.signature(function).parameters.values()
            found[name] = " ".join(
                p.name if p.default is p.empty else f"{p.name}={p.default}"
                for p in parameters
                if p.kind is not p.KEYWORD_ONLY
            )
    return found


def test_every_function_has_its_documented_name_and_parameters_and_none_is_extra() -> None:
    assert functions() == KNOWN | ADDED


def test_every_operation_of_the_description_is_in_api() -> None:
    described = {(o.operation_id, o.method, o.path) for o in Spec(SPEC).operations}
    created = {
        (o.id, o.method, re.sub(r":(path|int)}", "}", o.path))
        for o in vars(api).values()
        if isinstance(o, Operation)
    }
    assert created == described
    assert len(created) == 57


def test_a_component_for_requests_and_responses_alike_is_rejected(tmp_path: Path) -> None:
    spec = Spec(SPEC).raw
    answers = spec["paths"]["/htc/projects"]["post"]["responses"]
    schema = {"$ref": "#/components/schemas/HTCProjectCreate"}
    answers["200"]["content"]["application/json"]["schema"] = schema
    (tmp_path / "spec.yaml").write_text(json.dumps(spec, default=str))
    with pytest.raises(ValueError, match="split for request and response: HTCProjectCreate"):
        Spec(tmp_path / "spec.yaml").request_components()


def test_every_property_and_parameter_is_described() -> None:
    """Editors show these descriptions."""
    spec = Spec(SPEC)
    silent = [
        f"{name}.{field}"
        for name, component in spec.raw["components"]["schemas"].items()
        for field, schema in component.get("properties", {}).items()
        if not schema.get("description")
    ]
    silent += [
        f"{operation.operation_id}.{parameter['name']}"
        for operation in spec.operations
        for parameter in operation.parameters
        if not parameter.get("description")
    ]
    assert not silent


def test_every_secret_field_is_one_of_a_model() -> None:
    for field in _facts.SECRET_FIELDS:
        component, name = field.split(".")
        assert name in getattr(models, component).model_fields


def test_create_job_batch_takes_the_arguments_that_the_description_names() -> None:
    parameters = dict(inspect.signature(htcjobs.create_job_batch).parameters)
    for name in ("rescale", "task", "group"):
        del parameters[name]
    assert parameters.keys() == _facts.ARGUMENTS["HTCJobSubmitRequest"].keys()
    nullable = {name for name, parameter in parameters.items() if parameter.default is None}
    assert nullable == {*_facts.OPTIONAL_ARGUMENTS, "region"}


def test_a_field_shown_in_one_request_and_not_in_another_is_rejected(tmp_path: Path) -> None:
    """Messages identify a field only by its name."""
    spec = Spec(SPEC).raw
    del spec["components"]["schemas"]["HTCProjectUpdate"]["properties"]["regions"]["x-shown"]
    (tmp_path / "spec.yaml").write_text(json.dumps(spec, default=str))
    with pytest.raises(ValueError, match="x-shown in one request and not in another: regions"):
        facts.generate(tmp_path / "spec.yaml", ROOT)


def test_a_key_that_is_given_twice_is_rejected(tmp_path: Path) -> None:
    """A second `links` once silently replaced the first one."""
    twice = tmp_path / "twice.yaml"
    twice.write_text("paths:\n  /a: {}\n  /b: {}\n  /a: {}\n")
    with pytest.raises(ValueError, match=r"duplicate key '/a'\n.*line 2, column 3"):
        Spec(twice)


def test_every_request_and_record_has_a_typed_dictionary_with_its_keys() -> None:
    requests = Spec(SPEC).request_components()
    for name, schema in Spec(SPEC).schemas.items():
        if "enum" in schema:
            assert name in types.__all__
            continue
        kind = getattr(types, f"{name}Dict")
        required = schema.get("required", []) if name in requests else schema["properties"]
        assert kind.__required_keys__ == set(required), name
        assert kind.__required_keys__ | kind.__optional_keys__ == set(schema["properties"]), name
        assert kind.__doc__
    assert get_type_hints(types.HTCJobDict)["completedAt"] == str | None
    assert get_type_hints(types.HTCJobDict)["envs"] == list[types.NameValuePairDict]
