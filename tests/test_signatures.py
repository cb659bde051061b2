"""The documented interface: the name, order, default and kind of every parameter."""

from __future__ import annotations

import inspect

import pytest

from rescalehtc import htcjobs

REQUIRED = inspect.Parameter.empty

SUBMISSION = {
    "priority": REQUIRED,
    "image_name": REQUIRED,
    "exec_timeout_seconds": REQUIRED,
    "job_name": "rescalehtc_default_jobname",
    "max_vcpus": 1,
    "max_memory_mib": 4000,
    "max_swap_mib": 0,
    "max_disk_gib": 10,
    "job_tags": {},
    "batch_tags": [],
    "commands": [],
    "envs": [],
    "claims": [],
    "architecture": "AARCH64",
    "region": None,
}
SESSION_AND_TASK = {"rescale": REQUIRED, "task": REQUIRED}
SESSION = {"self": REQUIRED, "rescale": REQUIRED}

# Every entry of the documentation of htcjobs.
DOCUMENTED = {
    "HtcJob": {"json": REQUIRED, "task": REQUIRED},
    "HtcJob.get_update": SESSION,
    "HtcJob.is_still_running": SESSION,
    "HtcJob.get_logs": {**SESSION, "last_n_lines": None},
    "HtcJob.get_logs_to_file": {**SESSION, "destination_file_path": REQUIRED, "last_n_lines": None},
    "HtcJobBatch": {"json": REQUIRED, "task": REQUIRED},
    "HtcJobBatch.get_task_summary": SESSION,
    "HtcJobBatch.is_still_running": SESSION,
    "HtcJobBatch.to_jobs": {"self": REQUIRED},
    "get_jobs": {**SESSION_AND_TASK, "job_status": "any"},
    "get_job_with_id": {**SESSION_AND_TASK, "job_id": REQUIRED},
    "create_single_job": {**SESSION_AND_TASK, **SUBMISSION},
    "create_job_batch": {**SESSION_AND_TASK, "batch_size": REQUIRED, **SUBMISSION},
    "create_job_batch_raw": {**SESSION_AND_TASK, "payload": REQUIRED},
}
RETURNED = {
    "HtcJob.get_update": "types.HTCJobDict",
    "HtcJob.is_still_running": "bool",
    "HtcJob.get_logs": "Iterable[str]",
    "HtcJob.get_logs_to_file": "None",
    "HtcJobBatch.get_task_summary": "JobStatusSummaryRecord",
    "HtcJobBatch.is_still_running": "bool",
    "HtcJobBatch.to_jobs": "list[HtcJob]",
    "get_jobs": "list[HtcJob]",
    "get_job_with_id": "HtcJob | None",
    "create_single_job": "HtcJob",
    "create_job_batch": "HtcJobBatch",
    "create_job_batch_raw": "HtcJobBatch",
}


@pytest.mark.parametrize("entry", DOCUMENTED)
def test_a_documented_signature_is_kept(entry: str) -> None:
    """Names, order and defaults are as documented. New parameters are keyword-only."""
    target: object = htcjobs
    for name in entry.split("."):
        target = getattr(target, name)
    signature = inspect.signature(target)  # type: ignore[arg-type]
    parameters = signature.parameters.values()
    if not isinstance(target, type):
        assert signature.return_annotation == RETURNED[entry]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [(p.name, p.default) for p in positional] == list(DOCUMENTED[entry].items())
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters if p not in positional)


@pytest.mark.parametrize("kind", [htcjobs.HtcJob, htcjobs.HtcJobBatch])
def test_json_and_task_are_what_was_given(kind: type, task: object) -> None:
    value = {"jobUUID": "j"}
    created = kind(value, task)
    assert created.json is value
    assert created.task is task


def test_no_default_is_shared_and_changed(task: object, rescale: object) -> None:
    """The documented mutable defaults are still empty after submissions that use them."""
    arguments = ("ON_DEMAND_ECONOMY", "image", 60)
    htcjobs.create_single_job(rescale, task, *arguments)  # type: ignore[arg-type]
    defaults = inspect.signature(htcjobs.create_single_job).parameters
    for name in ("job_tags", "batch_tags", "commands", "envs", "claims"):
        assert not defaults[name].default
