"""Invalid submissions fail before a request is sent."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rescalehtc import HtcSession, htcjobs, models
from rescalehtc._facts import ARGUMENTS
from rescalehtc._requests import submit_request
from rescalehtc.exceptions import HtcException, HtcValidationError
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

from .service import Answer, Service

IMAGE = "GET /htc/projects/p/container-registry/images/image"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"

GOOD: dict[str, Any] = {
    "batch_size": 2,
    "priority": "ON_DEMAND_ECONOMY",
    "image_name": "image",
    "exec_timeout_seconds": 60,
}
SECRET = "s3cret"


def task_in(*regions: str) -> HtcTask:
    project = HtcProject({"projectId": "p", "regions": list(regions)})
    return HtcTask({"projectId": "p", "taskId": "t"}, project)


def problems(rescale: HtcSession, task: HtcTask, **arguments: Any) -> dict[str, str]:
    """The problems of these arguments, by name."""
    with pytest.raises(HtcValidationError) as info:
        htcjobs.create_job_batch(rescale, task, **{**GOOD, **arguments})
    assert len(info.value.problems) == len(dict(info.value.problems))
    return dict(info.value.problems)


def raw_problems(rescale: HtcSession, task: HtcTask, payload: Any) -> dict[str, str]:
    with pytest.raises(HtcValidationError) as info:
        htcjobs.create_job_batch_raw(rescale, task, payload)
    return dict(info.value.problems)


@pytest.fixture
def accepting(service: Service) -> Service:
    """The scripted service with a ready image, which accepts every submission."""

    def submitted(request: Any) -> Answer:
        ids = {"projectId": "p", "taskId": "t", "group": "g"}
        return Answer([{**r, **ids, "parentJobId": f"j{n}"} for n, r in enumerate(request.json)])

    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, submitted)
    return service


def without_mark(requests: Any) -> Any:
    """The submit requests without their marks."""
    for request in requests:
        definition = request["htcJobDefinition"]
        del definition["tags"]["rescalehtc-submission"]
        if not definition["tags"]:
            del definition["tags"]
    return requests


ARGUMENT_PROBLEMS = [
    ({"batch_size": 0}, "batch_size", "an integer from 1 to 1000, got 0"),
    ({"batch_size": 1001}, "batch_size", "an integer from 1 to 1000, got 1001"),
    ({"batch_size": "2"}, "batch_size", "an integer from 1 to 1000, got '2'"),
    ({"batch_size": None}, "batch_size", "an integer from 1 to 1000, got None"),
    ({"priority": "CHEAP"}, "priority", "ON_DEMAND_PRIORITY, ON_DEMAND_ECONOMY, got 'CHEAP'"),
    ({"priority": None}, "priority", "got None"),
    ({"image_name": "x y!!"}, "image_name", "[path/]name[:tag]"),
    ({"exec_timeout_seconds": 59}, "exec_timeout_seconds", "an integer from 60 to 1209600, got 59"),
    ({"exec_timeout_seconds": 60.0}, "exec_timeout_seconds", "got 60.0 (float)"),
    ({"job_name": 5}, "job_name", "a string, got int"),
    ({"max_vcpus": 65}, "max_vcpus", "an integer from 1 to 64, got 65"),
    ({"max_vcpus": True}, "max_vcpus", "got True (bool)"),
    ({"max_memory_mib": 3}, "max_memory_mib", "an integer from 4 to 235520, got 3"),
    ({"max_swap_mib": -1}, "max_swap_mib", "an integer of at least 0, got -1"),
    ({"max_disk_gib": 64001}, "max_disk_gib", "an integer from 0 to 64000, got 64001"),
    ({"job_tags": {"a": 1}}, "job_tags.a", "a string, got int"),
    ({"job_tags": []}, "job_tags", "a dictionary of strings, got list"),
    ({"batch_tags": "a=b"}, "batch_tags", "a list, each item a dictionary"),
    ({"batch_tags": [{"Key": "a"}]}, "batch_tags[0].Key", "did you mean 'key'?"),
    ({"commands": "echo hi"}, "commands", "a list, each item a string, got str"),
    ({"commands": ["echo", 5]}, "commands[1]", "a string, got int"),
    ({"envs": {"A": 5}}, "envs.A", "a string, got int"),
    ({"envs": {"FINE": "", "RDF_X": SECRET}}, "envs.RDF_X", "RDF_X is reserved"),
    ({"envs": {"A=B": SECRET}}, "envs.A=B", "without '='"),
    ({"envs": {"": SECRET}}, "envs[0].name", "must be"),
    ({"envs": {"\ud800": SECRET}}, "envs[0].name", "text that UTF-8 can't encode"),
    ({"envs": {1: SECRET}}, "envs", "must have strings as its keys"),
    ({"envs": {"name": "A", "value": SECRET}}, "envs", "a list of such dictionaries with 'name'"),
    ({"claims": {"A": None}}, "claims.A", "a string, got None"),
    ({"batch_tags": {"A": [SECRET]}}, "batch_tags.A", "a string, got list"),
    ({"batch_tags": {"key": "A", "value": "b"}}, "batch_tags", "with 'key' and 'value'"),
    ({"envs": ["A=b"]}, "envs[0]", "'name' and 'value', got str"),
    ({"envs": [{"name": "A"}]}, "envs[0].value", "is missing"),
    ({"envs": [{"name": "A", "value": 5}]}, "envs[0].value", "a string, got int"),
    ({"envs": [{"name": "RDF_X", "value": ""}]}, "envs[0].name", "RDF_X is reserved"),
    ({"envs": [{"name": "", "value": ""}]}, "envs[0].name", "must be"),
    ({"claims": [{"name": "A", "value": None}]}, "claims[0].value", "a string, got None"),
    ({"claims": None}, "claims", "got None"),
    ({"architecture": "x86"}, "architecture", "one of AARCH64, X86, A100, got 'x86'"),
    ({"region": "AWS_US_EAST_1"}, "region", "AWS_EU_WEST_1; got 'AWS_US_EAST_1'"),
    ({"max_retries": 11}, "max_retries", "an integer from 0 to 10, got 11"),
    ({"max_retries": -1}, "max_retries", "an integer from 0 to 10, got -1"),
    ({"max_retries": True}, "max_retries", "got True (bool)"),
    ({"max_retries": "3"}, "max_retries", "an integer from 0 to 10, got '3'"),
    ({"working_dir": 5}, "working_dir", "a string, got int"),
    ({"working_dir": ["a"]}, "working_dir", "a string, got list"),
    ({"region": 5}, "region", "got 5"),
    ({"region": b"AWS_US_EAST_1"}, "region", "got 'AWS_US_EAST_1'"),
    ({"batch_size": 10**5000}, "batch_size", "got a number far out of range"),
    ({"job_tags": {1: "a"}}, "job_tags", "must have strings as its keys"),
    ({"job_tags": {"\ud800": "1"}}, "job_tags", "text that UTF-8 can't encode"),
    ({"commands": ["\ud800"]}, "commands[0]", "text that UTF-8 can't encode"),
    ({"envs": [{"name": "A", "value": "\ud800"}]}, "envs[0].value", "text that UTF-8 can't encode"),
]


@pytest.mark.parametrize(("arguments", "where", "message"), ARGUMENT_PROBLEMS)
def test_a_wrong_argument_is_named_with_the_valid_values(
    service: Service,
    scripted: HtcSession,
    arguments: dict[str, Any],
    where: str,
    message: str,
) -> None:
    found = problems(scripted, task_in("AWS_EU_WEST_1"), **arguments)
    assert list(found) == [where]
    assert message in found[where]
    assert not service.requests


def test_all_wrong_arguments_are_reported_together_in_their_order(scripted: HtcSession) -> None:
    everything: dict[str, Any] = {}
    for arguments, _, _ in reversed(ARGUMENT_PROBLEMS):
        everything |= arguments
    found = problems(scripted, task_in("AWS_EU_WEST_1"), **everything)
    assert [name.split("[")[0].split(".")[0] for name in found] == [
        *("batch_size", "priority", "image_name", "exec_timeout_seconds", "job_name", "max_vcpus"),
        *("max_memory_mib", "max_swap_mib", "max_disk_gib", "job_tags", "batch_tags", "commands"),
        *("envs", "claims", "architecture", "region", "max_retries", "working_dir"),
    ]


def test_the_same_arguments_are_checked_for_a_single_job(scripted: HtcSession) -> None:
    with pytest.raises(HtcValidationError, match=r"exec_timeout_seconds(.|\n)*region"):
        htcjobs.create_single_job(scripted, task_in("A", "B"), "ON_DEMAND_ECONOMY", "image", 5)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (["AWS_EU_WEST_1", "GCP_US_EAST_1"], "one of the project's regions: AWS_EU_WEST_1, GCP"),
        ([], "the project has no regions"),
    ],
)
def test_a_region_must_be_given_unless_the_project_has_just_one(
    scripted: HtcSession, regions: list[str], message: str
) -> None:
    assert message in problems(scripted, task_in(*regions))["region"]


def test_a_region_must_be_given_if_the_project_s_are_not_known(
    accepting: Service, scripted: HtcSession
) -> None:
    task = HtcTask({"projectId": "p", "taskId": "t"}, HtcProject({"projectId": "p"}))
    assert "has no regions to choose a default from" in problems(scripted, task)["region"]
    htcjobs.create_job_batch(scripted, task, **GOOD, region="AWS_EU_WEST_1")
    assert accepting.requests[-1].json[0]["regions"] == ["AWS_EU_WEST_1"]


@pytest.mark.parametrize(
    ("region", "provider"),
    [
        ("AWS_EU_WEST_1", "AWS"),
        ("GCP_US_EAST_1", "GCP"),
        ("NGC_ENOCH_1", "NGC"),
        ("AZURE_EU_NORTH", "AZURE"),
        ("RC_ICELAND_1", "RC"),
        ("COREWEAVE_US_EAST_4", "COREWEAVE"),
        ("MOON_CRATER_1", None),
    ],
)
def test_a_region_of_any_cloud_is_sent_as_regions_with_its_cloud(
    accepting: Service, scripted: HtcSession, region: str, provider: str | None
) -> None:
    """1.1.0 sends `region`, which the service does not have, and supports two cloud providers."""
    htcjobs.create_job_batch(scripted, task_in(region), **GOOD)
    sent = accepting.requests[-1].json[0]
    assert sent["regions"] == [region]
    assert "region" not in sent
    assert sent.get("cloudProvider") == provider


def test_every_argument_is_sent_where_it_belongs(accepting: Service, scripted: HtcSession) -> None:
    batch = htcjobs.create_job_batch(
        scripted,
        task_in("AWS_EU_WEST_1"),
        7,
        models.JobPriority.ON_DEMAND_PRIORITY,
        "image",
        3600,
        job_name="name",
        max_vcpus=8,
        max_memory_mib=128,
        max_swap_mib=1,
        max_disk_gib=2,
        job_tags={"a": "b"},
        batch_tags=[{"key": "c", "value": "d"}, models.Tag(key="e", value="f")],
        commands=("python", "-c", ""),
        envs=[{"name": "FOO", "value": "bar"}, models.EnvPair(name="BAR", value="")],
        claims=[{"name": "g", "value": "h"}],
        architecture="X86",
        region="AWS_EU_WEST_1",
    )
    expected = {
        "jobName": "name",
        "batchSize": 7,
        "tags": [{"key": "c", "value": "d"}, {"key": "e", "value": "f"}],
        "regions": ["AWS_EU_WEST_1"],
        "cloudProvider": "AWS",
        "htcJobDefinition": {
            "imageName": "image",
            "maxVCpus": 8,
            "maxMemory": 128,
            "maxDiskGiB": 2,
            "maxSwap": 1,
            "tags": {"a": "b"},
            "commands": ["python", "-c", ""],
            "envs": [{"name": "FOO", "value": "bar"}, {"name": "BAR", "value": ""}],
            "claims": [{"name": "g", "value": "h"}],
            "execTimeoutSeconds": 3600,
            "architecture": "X86",
            "priority": "ON_DEMAND_PRIORITY",
        },
    }
    assert without_mark(accepting.requests_to(SUBMIT)[0].json) == [expected]
    assert batch.json["parentJobId"] == "j0"


def test_plain_dictionaries_stand_for_lists_of_pairs(
    accepting: Service, scripted: HtcSession
) -> None:
    """In arguments and in payloads. The caller's objects do not change."""
    pairs = {"A": "1", "B": ""}
    named = [{"name": "A", "value": "1"}, {"name": "B", "value": ""}]
    keyed = [{"key": "A", "value": "1"}, {"key": "B", "value": ""}]
    given = {"envs": pairs, "claims": MappingProxyType(pairs), "batch_tags": pairs}
    definition = {"imageName": "image", "envs": pairs, "claims": pairs}
    payload = [{"htcJobDefinition": definition, "tags": pairs}]
    before = copy.deepcopy(payload)
    task = task_in("AWS_EU_WEST_1")
    htcjobs.create_job_batch(scripted, task, 1, "ON_DEMAND_ECONOMY", "image", 60, **given)  # type: ignore[arg-type]
    htcjobs.create_job_batch_raw(scripted, task, payload)
    htcjobs.submit(scripted, task, payload)
    assert htcjobs.validate(payload) == []
    assert payload == before
    for request in accepting.requests_to(SUBMIT):
        [sent] = request.json
        assert sent["htcJobDefinition"]["envs"] == sent["htcJobDefinition"]["claims"] == named
        assert sent["tags"] == keyed


# ---- payloads

DEFINITION: dict[str, Any] = {"imageName": "image"}
REQUEST: dict[str, Any] = {"htcJobDefinition": DEFINITION}


@pytest.mark.parametrize(
    ("payload", "where", "message"),
    [
        (REQUEST, "payload", "a list of submit requests, got dict"),
        (None, "payload", "a list of submit requests, got NoneType"),
        ([], "payload", "1 to 100 submit requests, got 0"),
        ([REQUEST] * 101, "payload", "1 to 100 submit requests, got 101"),
        ([REQUEST, 5], "[1]", "a dictionary with 'htcJobDefinition', got int"),
        ([{}], "[0].htcJobDefinition", "is missing"),
        ([{**REQUEST, "batchSize": 0}], "[0].batchSize", "an integer from 1 to 1000, got 0"),
        ([{**REQUEST, "batchsize": 1}], "[0].batchsize", "did you mean 'batchSize'?"),
        ([{**REQUEST, "region": "X"}], "[0].region", "did you mean 'regions'?"),
        ([{**REQUEST, "regions": ["X_Y"]}], "[0].regions[0]", "AWS_EU_WEST_1; got 'X_Y'"),
        ([{**REQUEST, "regions": ["AWS_EU_WEST_1"] * 2}], "[0].regions", "a list without duplicates"),
        ([{**REQUEST, "retryStrategy": {"maxRetries": 11}}], "[0].retryStrategy.maxRetries", "0 to 10, got 11"),
        ([{"htcJobDefinition": {**DEFINITION, "maxVcpus": 1}}], "[0].htcJobDefinition.maxVcpus", "did you mean 'maxVCpus'?"),
        ([{"htcJobDefinition": {**DEFINITION, "zzz": 1}}], "[0].htcJobDefinition.zzz", "its fields are imageName, maxVCpus"),
        ([{"htcJobDefinition": {**DEFINITION, "envs": [{"name": "A", "value": SECRET, "x": SECRET}]}}], "[0].htcJobDefinition.envs[0].x", "is not a field of EnvPair"),
        ([models.HTCJobSubmitRequest.model_construct(htc_job_definition=models.HTCJobDefinition.model_construct(image_name="A"))], "[0].htcJobDefinition.imageName", "got 'A'"),
        ([{**REQUEST, "htc_job_definition": DEFINITION}], "[0].htcJobDefinition", "is set twice"),
        ([{"htcJobDefinition": {**DEFINITION, "envs": {"A": SECRET, "RDF_X": SECRET}}}], "[0].htcJobDefinition.envs.RDF_X", "reserved"),
        ([{**REQUEST, "tags": {"a": 1}}], "[0].tags.a", "a string, got int"),
        ([models.HTCJobDefinition(image_name="a")], "[0]", "a dictionary with 'htcJobDefinition', got HTCJobDefinition"),
    ],
)  # fmt: skip
def test_a_wrong_payload_is_named_by_its_path(
    service: Service, scripted: HtcSession, payload: Any, where: str, message: str
) -> None:
    found = raw_problems(scripted, task_in("AWS_EU_WEST_1"), payload)
    assert list(found) == [where]
    assert message in found[where]
    assert not service.requests


@pytest.mark.parametrize("regions", [{}, {"regions": []}, {"regions": None}])
def test_a_payload_names_regions_unless_the_project_has_just_one(
    accepting: Service, scripted: HtcSession, regions: dict[str, Any]
) -> None:
    found = raw_problems(scripted, task_in("A_1", "B_1"), [{**REQUEST, **regions}])
    assert found == {"[0].regions": "must have at least one of the project's regions: A_1, B_1"}
    payload = [{**REQUEST, **regions, "batchSize": 1}]
    htcjobs.create_job_batch_raw(scripted, task_in("A_1"), payload)


def test_all_problems_of_a_payload_are_reported_together(scripted: HtcSession) -> None:
    payload = [{}, REQUEST, {**REQUEST, "batchSize": 0, "regions": ["X"]}]
    found = raw_problems(scripted, task_in("AWS_EU_WEST_1"), payload)
    assert list(found) == ["[0].htcJobDefinition", "[2].batchSize", "[2].regions[0]"]


def test_a_payload_may_mix_dictionaries_and_models_and_loses_no_job(
    accepting: Service, scripted: HtcSession
) -> None:
    """1.1.0 loses every batch but the first."""
    model = models.HTCJobSubmitRequest(
        htc_job_definition=models.HTCJobDefinition(image_name="image"), batch_size=2
    )
    mixed = {"batchSize": 3, "htcJobDefinition": models.HTCJobDefinition(image_name="image")}
    payload = [{**REQUEST, "batchSize": 1}, model, mixed]
    batch = htcjobs.create_job_batch_raw(scripted, task_in("AWS_EU_WEST_1"), payload)
    assert without_mark(accepting.requests_to(SUBMIT)[0].json) == [
        {"batchSize": size, "htcJobDefinition": DEFINITION} for size in (1, 2, 3)
    ]
    jobs = [job.json["jobUUID"] for job in batch.to_jobs()]
    assert jobs == ["j0:0", "j1:0", "j1:1", "j2:0", "j2:1", "j2:2"]
    assert [part.record.batch_size for part in batch.batches] == [1, 2, 3]
    assert batch.json["parentJobId"] == "j0"


def test_the_answer_to_a_submission_can_be_submitted_again(
    accepting: Service, scripted: HtcSession
) -> None:
    """Fields that only the service sets are removed, because it ignores them."""
    batch = htcjobs.create_job_batch_raw(scripted, task_in("A"), [{**REQUEST, "batchSize": 2}])
    assert "parentJobId" in batch.json
    htcjobs.create_job_batch_raw(scripted, task_in("A"), [batch.json])
    first, second = accepting.requests_to(SUBMIT)
    assert without_mark(first.json) == without_mark(second.json)


def test_the_payload_is_not_changed(accepting: Service, scripted: HtcSession) -> None:
    payload = [{**REQUEST, "batchSize": 1}]
    before = json.dumps(payload)
    htcjobs.create_job_batch_raw(scripted, task_in("AWS_EU_WEST_1"), payload)
    assert json.dumps(payload) == before


def test_each_image_is_looked_up_once(accepting: Service, scripted: HtcSession) -> None:
    htcjobs.create_job_batch_raw(scripted, task_in("A"), [{**REQUEST, "batchSize": 1}] * 3)
    assert len(accepting.requests_to(IMAGE)) == 1


# ---- secrets

SECRETIVE: list[dict[str, Any]] = [
    {"envs": [{"name": "A", "value": [SECRET]}]},
    {"envs": [{"name": "A", "value": SECRET, "extra": SECRET}]},
    {"envs": {"A": [SECRET]}},
    {"envs": {"name": "A", "value": SECRET}},
    {"envs": {5: SECRET}},
    {"envs": SECRET},
    {"envs": [f"A={SECRET}"]},
    {"envs": [{"name": "RDF_X", "value": SECRET}]},
    {"claims": [{"name": "A", "value": {"x": SECRET}}]},
    {"claims": [SECRET]},
    {"commands": f"run --token {SECRET}"},
    {"job_tags": {"a": [SECRET]}},
    {"job_name": [SECRET]},
]


@pytest.mark.parametrize("arguments", SECRETIVE)
def test_no_value_that_may_be_secret_is_in_the_error_or_its_traceback(
    scripted: HtcSession, arguments: dict[str, Any]
) -> None:
    with pytest.raises(HtcValidationError) as info:
        htcjobs.create_job_batch(scripted, task_in("AWS_EU_WEST_1"), **{**GOOD, **arguments})
    assert info.value.__cause__ is None
    assert info.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception_only(info.value))
    assert SECRET not in repr(info.value.problems)


def test_long_values_are_cut(scripted: HtcSession) -> None:
    message = problems(scripted, task_in("AWS_EU_WEST_1"), image_name="A" * 10_000)["image_name"]
    assert len(message) < 250


# ---- other cases

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(ARGUMENTS["HTCJobSubmitRequest"])) | st.just("region"),
        JSON,
    )
)
def test_any_arguments_make_a_request_or_an_htc_validation_error(arguments: dict[str, Any]) -> None:
    region = arguments.pop("region", None)
    given_arguments = {**dict.fromkeys(ARGUMENTS["HTCJobSubmitRequest"]), **arguments}
    del given_arguments["region"]
    try:
        submit_request.from_arguments(
            given_arguments, region, task_in("AWS_EU_WEST_1").project.json
        )
    except HtcValidationError as error:
        assert error.problems


KEYS = st.sampled_from(["htcJobDefinition", "batchSize", "regions", "tags", "envs", "imageName"])
PAYLOADS = st.lists(st.dictionaries(KEYS | st.text(), JSON | st.dictionaries(KEYS, JSON)) | JSON)


@given(PAYLOADS | JSON)
@example([{"[key]": 1}])
@example([{"htcJobDefinition": {"imageName": "a", "tags": {"[key]": 1, 2: "a"}}}])
def test_any_payload_makes_requests_or_an_htc_validation_error(payload: Any) -> None:
    try:
        submit_request.from_payload(payload, task_in("AWS_EU_WEST_1").project.json)
    except HtcValidationError as error:
        assert error.problems


def test_a_payload_nested_without_end_is_an_htc_validation_error(scripted: HtcSession) -> None:
    loop: dict[str, Any] = {}
    loop["htcJobDefinition"] = loop
    with pytest.raises(HtcValidationError):
        htcjobs.create_job_batch_raw(scripted, task_in("A"), [loop])


def test_the_error_is_a_value_error_and_survives_pickle(scripted: HtcSession) -> None:
    with pytest.raises(ValueError) as info:
        htcjobs.create_job_batch_raw(scripted, task_in("A"), [])
    error = pickle.loads(pickle.dumps(info.value))
    assert isinstance(error, HtcException)
    assert str(error) == str(info.value)
    assert str(error) == (
        "1 problem in the payload; nothing was sent\n"
        "  payload: must contain 1 to 100 submit requests, got 0"
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda r: htcjobs.create_job_batch(r, {"taskId": "t"}, **GOOD),  # type: ignore[arg-type]
        lambda r: htcjobs.create_job_batch_raw(r, None, []),  # type: ignore[arg-type]
        lambda r: htcjobs.get_jobs(r, "t"),  # type: ignore[arg-type]
        lambda r: htcjobs.get_job_with_id(r, "t", "j"),  # type: ignore[arg-type]
        lambda r: htcjobs.HtcJob({}, "t"),  # type: ignore[arg-type]
        lambda r: htcjobs.HtcJobBatch({}, "t"),  # type: ignore[arg-type]
    ],
)
def test_an_invalid_task_is_rejected(scripted: HtcSession, call: Any) -> None:
    with pytest.raises(HtcValidationError, match="task: must be of type HtcTask"):
        call(scripted)
