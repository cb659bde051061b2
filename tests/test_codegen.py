"""The generated files are what the description says, by the documented rule."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from codegen import operations
from codegen.spec import Spec
from rescalehtc import api
from rescalehtc._operation import Operation

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "openapi" / "htc.yaml"

# Names that scripts written for 1.1.0 import, with their parameters, of the operations so far.
KNOWN = {
    "get_auth_token": "rescale authorization_header",
    "get_auth_token_whoami": "rescale",
    "get_auth_whoami": "rescale authorization_header",
    "get_htc_projects": "rescale project_id=None",
    "post_htc_projects": "rescale payload",
    "get_htc_projects_container_registry_images": "rescale project_id image_name",
    "get_htc_projects_tasks": "rescale project_id task_id=None",
    "post_htc_projects_tasks": "rescale project_id payload",
    "delete_htc_projects_tasks": "rescale project_id task_id",
    "get_htc_projects_tasks_summary_statistics": "rescale project_id task_id",
    "get_htc_projects_tasks_jobs": "rescale project_id task_id job_id=None",
    "post_htc_projects_tasks_jobs_batch": "rescale project_id task_id payload",
    "post_htc_projects_tasks_jobs_cancel": "rescale project_id task_id",
    "get_htc_projects_tasks_jobs_events": "rescale project_id task_id job_id",
    "get_htc_projects_tasks_jobs_logs": "rescale project_id task_id job_id max_items=None page_size=5000",
}  # fmt: skip


def functions() -> dict[str, str]:
    """The functions of api with their positional parameters."""
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
    assert functions() == KNOWN


def test_every_operation_of_the_description_is_in_api() -> None:
    described = {
        (o.operation_id, o.method, o.path.replace("{imageName}", "{imageName:path}"))
        for o in Spec(SPEC).operations
    }
    made = {(o.id, o.method, o.path) for o in vars(api).values() if isinstance(o, Operation)}
    assert made == described


def test_a_generated_file_that_was_changed_by_hand_is_found() -> None:
    """`--check` fails and names the command; without it the file is written again."""
    path = ROOT / "rescalehtc" / "api.py"
    current = subprocess.run(
        [sys.executable, "-m", "codegen", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (current.returncode, current.stderr) == (0, "")
    assert operations.generate(SPEC, ROOT) == path.read_text(encoding="utf-8")
    assert operations.generate(SPEC, ROOT) != path.read_text(encoding="utf-8") + "\n"


def test_a_component_for_requests_and_responses_alike_is_refused(tmp_path: Path) -> None:
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    answers = spec["paths"]["/htc/projects"]["post"]["responses"]
    schema = {"$ref": "#/components/schemas/HTCProjectCreate"}
    answers["200"]["content"]["application/json"]["schema"] = schema
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(ValueError, match="split for request and response: HTCProjectCreate"):
        Spec(tmp_path / "spec.yaml").request_components()


def test_every_property_and_parameter_is_described() -> None:
    """The descriptions are what an editor shows."""
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
