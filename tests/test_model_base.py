"""Requests are strict, records tolerant, and a field that was not fetched is not null."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import traceback
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rescalehtc import models
from rescalehtc._model_base import Record, Request, check_env_name
from rescalehtc.exceptions import HtcException, HtcValidationError, NotFetchedError

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "s3cret"
IDS = {"jobUUID": "parent:0", "taskId": "t", "projectId": "p"}

DEFINITION = models.HTCJobDefinition(image_name="a")
RECORD = models.HTCJob.model_validate(IDS)

# The documentation's example of a job, word for word.
DOCUMENTED_JOB = json.loads("""
{ "jobUUID": "155f18d4", "providerJobId": "provider-id-12345", "region": "AWS_AP_SOUTHEAST_1", "taskId": "task-12345", "projectId": "project-12345", "status": "FAILED", "statusReason": "Completed", "container": { "exitCode": 3, "reason": "Container Exited" }, "createdAt": "2023-10-19T08:05:53.730Z", "createdBy": "qWoUF", "failureCode": "ErrorTimeout", "workspaceId": "04-8098234", "group": "sample-group", "commands": [ "python", "script.py" ], "envs": [ { "name": "FOO", "value": "bar" } ], "jobExecutionEnvironment": { "instanceId": "123456789", "instanceType": "c7g.medium", "architecture": 2 }, "tags": [ { "key": "HOME", "value": "/home/users/" } ], "architecture": "A100", "maxVCpus": 0, "maxMemory": 0, "maxDiskGiB": 0, "maxSwap": 0, "imageName": "string", "execTimeoutSeconds": 0, "updatedAt": "2023-10-19T08:05:53.730Z", "instanceLabels": { "csp": "string", "priority": "string", "instanceType": "string", "instanceArchitecture": "string", "accountId": "string", "region": "string" }, "startedAt": "2023-10-19T08:05:53.730Z", "completedAt": "2023-10-19T08:05:53.730Z" }
""")
# The documentation's example of a batch, word for word.
DOCUMENTED_BATCH = json.loads("""
[ { "jobName": "Sample job", "taskId": "task-12345", "projectId": "project-12345", "parentJobId": "job-12345", "createdBy": "qWoUF", "workspaceId": "04-8234074", "group": "sample-group", "batchSize": 10, "regions": [ "AWS_AP_SOUTHEAST_1" ], "rescaleTimeReceived": "2023-10-24T20:34:51.279Z", "htcJobDefinition": { "imageName": "my-image", "maxVCpus": 8, "maxMemory": 128, "maxDiskGiB": 1, "maxSwap": 0, "tags": { "HOME": "foo_bar" }, "commands": [ "python", "script.py" ], "envs": [ { "name": "FOO", "value": "bar" } ], "claims": [ { "name": "string", "value": "string" } ], "execTimeoutSeconds": 300, "architecture": "A100", "priority": "ON_DEMAND_ECONOMY" }, "tags": [ { "key": "HOME", "value": "/home/users/" } ], "jobDefinitionName": "job-definition-321", "cloudProvider": "AWS" } ]
""")


def test_the_documented_job_is_understood_whole() -> None:
    job = models.HTCJob.model_validate(DOCUMENTED_JOB)
    assert job.status is models.RescaleJobStatus.FAILED
    assert job.failure_code is models.HTCJobErrorCodeName.ERROR_TIMEOUT
    assert job.container is not None
    assert job.container.exit_code == 3
    assert not job.model_extra
    again = job.model_dump(mode="json")
    assert {k: again[k] for k in again if not k.endswith("At")} == {
        k: DOCUMENTED_JOB[k] for k in DOCUMENTED_JOB if not k.endswith("At")
    }


def test_the_documented_batch_is_understood_whole() -> None:
    batch = models.HTCJobBatch.model_validate(DOCUMENTED_BATCH[0])
    assert batch.htc_job_definition is not None
    assert batch.htc_job_definition.exec_timeout_seconds == 300
    assert not batch.model_extra
    assert not batch.htc_job_definition.model_extra


def test_the_documented_submission_is_accepted_as_a_request() -> None:
    """Without the fields that only the service sets."""
    read_only = {"taskId", "projectId", "parentJobId", "createdBy", "workspaceId", "group"}
    read_only |= {"rescaleTimeReceived", "jobDefinitionName"}
    request = {k: v for k, v in DOCUMENTED_BATCH[0].items() if k not in read_only}
    assert models.HTCJobSubmitRequest.model_validate(request).to_json_dict() == request


def test_reading_what_was_not_fetched_raises_and_names_the_field_and_the_call() -> None:
    record = models.HTCJob.model_validate(IDS)
    with pytest.raises(
        NotFetchedError, match=r"HTCJob\.status .*job\.get_update\(rescale\)"
    ) as info:
        _ = record.status
    assert info.value.field == "status"
    assert isinstance(info.value, HtcException)
    assert record.job_uuid == "parent:0"


def test_null_reads_as_none() -> None:
    record = models.HTCJob.model_validate({**IDS, "status": None, "maxVCpus": None})
    assert record.status is None
    assert record.max_vcpus is None


def test_what_was_not_fetched_is_not_there_for_hasattr_and_getattr() -> None:
    record = models.HTCJob.model_validate(IDS)
    assert not hasattr(record, "status")
    assert getattr(record, "status", "unknown") == "unknown"
    assert "status" not in repr(record)
    assert "status" not in record.model_dump()


def test_a_name_that_is_no_field_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError) as info:
        _ = models.HTCJob.model_validate(IDS).statuss  # type: ignore[attr-defined]
    assert not isinstance(info.value, NotFetchedError)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda r: r.model_copy(), lambda r: pickle.loads(pickle.dumps(r))],
)
def test_a_partial_record_survives_being_copied(duplicate: object) -> None:
    record = models.HTCJob.model_validate({**IDS, "status": "A_NEW_ONE", "unknown": 1})
    again = duplicate(record)  # type: ignore[operator]
    assert again == record
    assert again.status == "A_NEW_ONE"
    assert not hasattr(again, "region")


def test_not_fetched_error_survives_pickle() -> None:
    error = pickle.loads(pickle.dumps(NotFetchedError("HTCJob", "status", "a call")))
    assert (error.record, error.field, error.fetched_by) == ("HTCJob", "status", "a call")


def test_unknown_fields_are_kept_and_returned() -> None:
    record = models.HTCJob.model_validate({**IDS, "aNewField": {"deep": [1]}})
    assert record.model_dump(mode="json")["aNewField"] == {"deep": [1]}


def test_an_unknown_status_is_a_member_that_is_not_listed() -> None:
    status = models.HTCJob.model_validate({**IDS, "status": "HIBERNATING"}).status
    assert status == "HIBERNATING"
    assert isinstance(status, models.RescaleJobStatus)
    assert not status.is_listed
    assert models.RescaleJobStatus.RUNNING.is_listed
    assert pickle.loads(pickle.dumps(status)) == status
    assert hash(status) == hash("HIBERNATING")


def test_members_serve_as_dictionary_keys_for_their_values() -> None:
    code = models.HTCJobErrorCodeName.ERROR_TIMEOUT
    assert {"ErrorTimeout": 1}[code] == 1


@pytest.mark.parametrize("value", [5, None, ["x"], {}])
def test_a_status_of_another_type_is_rejected_or_null(value: object) -> None:
    if value is None:
        assert models.HTCJob.model_validate({**IDS, "status": None}).status is None
    else:
        with pytest.raises(HtcValidationError):
            models.HTCJob.model_validate({**IDS, "status": value})


@pytest.mark.parametrize("missing", IDS)
def test_a_record_without_its_ids_is_none(missing: str) -> None:
    with pytest.raises(HtcValidationError):
        models.HTCJob.model_validate({k: v for k, v in IDS.items() if k != missing})


VALUES: dict[str, st.SearchStrategy[object]] = {
    "status": st.none() | st.sampled_from(models.RescaleJobStatus) | st.text(min_size=1),
    "statusReason": st.none() | st.text(),
    "group": st.none() | st.text(),
    "maxVCpus": st.none() | st.integers(-(2**31), 2**31),
    "commands": st.none() | st.lists(st.text()),
    "container": st.none() | st.fixed_dictionaries({}, optional={"exitCode": st.integers()}),
    "aNewField": st.none() | st.booleans() | st.dictionaries(st.text(), st.integers()),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_any_partial_record_is_kept_as_it_came(fields: dict[str, object]) -> None:
    """Records have exactly the fields that were sent, and a dump returns the original JSON."""
    came = {**IDS, **fields}
    record = models.HTCJob.model_validate(came)
    assert record.model_dump(mode="json") == came
    for name, field in models.HTCJob.model_fields.items():
        assert hasattr(record, name) == ((field.alias or name) in came)
    assert pickle.loads(pickle.dumps(record)) == record
    assert models.HTCJob.model_validate_json(record.model_dump_json()) == record


NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True).filter(
    lambda n: not n.startswith("RDF_")
)
PAIRS = st.builds(lambda n, v: {"name": n, "value": v}, NAMES, st.text())
DEFINITIONS = st.fixed_dictionaries(
    {"imageName": st.from_regex(r"([a-z0-9]+/){0,2}[a-z0-9]+(:[a-zA-Z0-9_]+)?", fullmatch=True)},
    optional={
        "maxVCpus": st.integers(1, 64),
        "maxMemory": st.integers(4, 235520),
        "maxDiskGiB": st.integers(0, 64000),
        "maxSwap": st.integers(0),
        "tags": st.dictionaries(st.text(), st.text()),
        "commands": st.lists(st.text()),
        "envs": st.lists(PAIRS),
        "claims": st.lists(st.builds(lambda n, v: {"name": n, "value": v}, st.text(), st.text())),
        "execTimeoutSeconds": st.integers(60, 1209600),
        "architecture": st.sampled_from(["AARCH64", "X86", "A100"]),
        "priority": st.sampled_from(["ON_DEMAND_ECONOMY", "ON_DEMAND_PRIORITY"]),
        "workingDir": st.text(),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"htcJobDefinition": DEFINITIONS},
    optional={
        "jobName": st.text(),
        "batchSize": st.integers(1, 1000),
        "regions": st.lists(st.sampled_from(list(models.RescaleRegion)).map(str), unique=True),
        "tags": st.lists(
            st.fixed_dictionaries({}, optional={"key": st.text(), "value": st.text()})
        ),
        "retryStrategy": st.fixed_dictionaries({}, optional={"maxRetries": st.integers(0, 10)}),
        "experimental": st.fixed_dictionaries({}, optional={"privilegedMode": st.booleans()}),
        "rescaleProjectId": st.text(),
        "cloudProvider": st.sampled_from(["AWS", "GCP"]),
    },
)


@given(REQUESTS)
def test_any_valid_request_survives_the_way_through_the_model_and_json(
    request_: dict[str, object],
) -> None:
    model = models.HTCJobSubmitRequest.model_validate(request_)
    assert model.to_json_dict() == request_
    assert (
        models.HTCJobSubmitRequest.model_validate_json(model.model_dump_json(exclude_none=True))
        == model
    )


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("maxVCpus", [1, 64], [0, 65, "4", 4.0, True]),
        ("maxMemory", [4, 235520], [3, 235521]),
        ("maxDiskGiB", [0, 64000], [-1, 64001]),
        ("maxSwap", [0], [-1]),
        ("execTimeoutSeconds", [60, 1209600], [59, 1209601, "60"]),
        ("architecture", ["X86", models.Architecture.A100], ["x86", "RISCV", 1]),
        ("priority", ["ON_DEMAND_ECONOMY"], ["CHEAP", ""]),
        ("commands", [[], ["a", ""]], ["echo hi", [1], ("a",)]),
        ("tags", [{}, {"a": "b"}], [{"a": 1}, [{"key": "a", "value": "b"}]]),
        ("envs", [[], [{"name": "A", "value": ""}]], [{"A": "b"}, [{"name": "A"}], [{"name": "", "value": ""}], [{"name": "A=B", "value": ""}], [{"name": "A", "value": "b", "c": "d"}]]),
        ("claims", [[{"name": "A", "value": ""}]], [[{"name": "A"}], [{"name": 1, "value": ""}]]),
    ],
)  # fmt: skip
def test_every_documented_bound_is_kept(field: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        models.HTCJobDefinition.model_validate({"imageName": "a", field: value})
    for value in bad:
        with pytest.raises(HtcValidationError):
            models.HTCJobDefinition.model_validate({"imageName": "a", field: value})


@pytest.mark.parametrize(
    "name", ["a", "my-image", "a/b/c:1.2_x-Y", "a__b", "a.b-c--d", "a:_", f"a:{'x' * 128}"]
)
def test_an_image_name_is_accepted(name: str) -> None:
    assert models.HTCJobDefinition(image_name=name).image_name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x y!!",
        "A",
        "a/",
        "/a",
        "a//b",
        "a:",
        "a:b:c",
        "a:-x",
        "a..b",
        "a_",
        "../a",
        "a@sha256:0",
        "a\n",
        f"a:{'x' * 129}",
        "a" * 400,
    ],
)
def test_an_invalid_image_name_is_rejected(name: str) -> None:
    with pytest.raises(HtcValidationError):
        models.HTCJobDefinition(image_name=name)


RESERVED = [
    "AWS_BATCH_CE_NAME",
    "AWS_BATCH_JOB_ARRAY_INDEX",
    "AWS_BATCH_JOB_ATTEMPT",
    "AWS_BATCH_JOB_ID",
    "AWS_BATCH_JOB_MAIN_NODE_INDEX",
    "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS",
    "AWS_BATCH_JOB_NODE_INDEX",
    "AWS_BATCH_JOB_NUM_NODES",
    "AWS_BATCH_JQ_NAME",
    "RESCALE_PROJECT_ID",
    "RESCALE_TASK_ID",
    "RESCALE_JOB_ID",
    "RESCALE_HTC_REGION",
    "RESCALE_HTC_TASK_ID",
    "RESCALE_HTC_PROJECT_ID",
    "RESCALE_HTC_BEARER_TOKEN",
    "PROJECT_SHARED_FOLDER",
    "TASK_SHARED_FOLDER",
    "AWS_SESSION_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MY_AWS_BATCH_X",
    "RESCALE_JOB_ID_2",
    "RDF_ANYTHING",
    "TASK_SHARED_FOLDER_X",
]


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_environment_name_is_rejected_in_a_request_and_accepted_in_a_record(
    name: str,
) -> None:
    with pytest.raises(HtcValidationError, match="reserved"):
        models.EnvPair(name=name, value="x")
    job = models.HTCJob.model_validate({**IDS, "envs": [{"name": name, "value": "x"}]})
    assert job.envs
    assert job.envs[0].name == name


@pytest.mark.parametrize(
    "name", ["PATH", "RESCALE_HTC_REFRESH_TOKEN", "MY_RDF_X", "RESCALE_HTC_REGION_2", "A.B", "x-y"]
)
def test_other_environment_names_are_accepted(name: str) -> None:
    assert check_env_name(name) == name


def test_a_request_rejects_unknown_fields_and_takes_both_names_of_known_ones() -> None:
    with pytest.raises(HtcValidationError):
        models.HTCJobDefinition.model_validate({"imageName": "a", "maxVcpus": 1})
    assert models.HTCJobDefinition(image_name="a", max_vcpus=2).to_json_dict() == {
        "imageName": "a",
        "maxVCpus": 2,
    }


def test_a_request_is_checked_when_it_is_changed_and_when_it_is_used() -> None:
    definition = models.HTCJobDefinition(image_name="a")
    with pytest.raises(HtcValidationError):
        definition.max_vcpus = 65
    broken = models.HTCJobDefinition.model_construct(image_name="a", max_vcpus=65)
    with pytest.raises(HtcValidationError):
        models.HTCJobSubmitRequest(htc_job_definition=broken)


def test_a_record_made_without_validation_has_what_it_was_given() -> None:
    record = models.HTCJob.model_construct(job_uuid="j")
    assert record.job_uuid == "j"
    assert not hasattr(record, "status")


def test_a_region_newer_than_this_release_may_be_requested_but_not_twice() -> None:
    definition = {"imageName": "a"}
    request = {"htcJobDefinition": definition, "regions": ["AWS_MARS_1"]}
    assert models.HTCJobSubmitRequest.model_validate(request).to_json_dict() == request
    with pytest.raises(HtcValidationError, match="without duplicates"):
        models.HTCJobSubmitRequest.model_validate({**request, "regions": ["AWS_MARS_1"] * 2})


def test_values_of_variables_claims_and_tokens_are_in_no_repr() -> None:
    secret = "s3cret"
    shown = [
        models.HTCJobDefinition.model_validate({"imageName": "a", "envs": [{"name": "A", "value": secret}], "claims": [{"name": "A", "value": secret}]}),
        models.HTCJob.model_validate({**IDS, "envs": [{"name": "A", "value": secret}]}),
        models.HTCToken.model_validate({"tokenValue": secret, "expiresIn": 1}),
    ]  # fmt: skip
    for model in shown:
        assert secret not in repr(model)
        assert secret not in str(model)
        assert secret in model.model_dump_json()


# Problems by Python names for models made in code, by the service's names for dictionaries.
WRONG_MODELS = [
    (lambda: models.HTCJobDefinition(image_name="a", max_vcpus=65), "max_vcpus", "an integer from 1 to 64, got 65"),
    (lambda: models.HTCJobDefinition(image_name="a", max_vcpu=6), "max_vcpu", "did you mean 'max_vcpus'?"),  # type: ignore[call-arg]
    (lambda: models.HTCJobDefinition(max_vcpus=6), "image_name", "is missing; must be an image name"),  # type: ignore[call-arg]
    (lambda: models.HTCJobDefinition(image_name="a", architecture="RISCV"), "architecture", "one of AARCH64, X86, A100, got 'RISCV'"),
    (lambda: models.EnvPair(name="RDF_X", value=SECRET), "name", "RDF_X is reserved"),
    (lambda: models.EnvPair(name="A", value=[SECRET]), "value", "must be a string, got list"),  # type: ignore[arg-type]
    (lambda: models.HTCJobSubmitRequest(htc_job_definition={"imageName": "A"}), "htc_job_definition.image_name", "got 'A'"),  # type: ignore[arg-type]
    (lambda: models.HTCJobSubmitRequest(htc_job_definition=SECRET), "htc_job_definition", "a dictionary with 'imageName', got str"),  # type: ignore[arg-type]
    (lambda: models.HTCJobDefinition.model_validate({"imageName": "a", "maxVcpus": 1}), "maxVcpus", "did you mean 'maxVCpus'?"),
    (lambda: models.HTCJobDefinition.model_validate([SECRET]), "it", "a dictionary with 'imageName', got list"),
    (lambda: models.HTCJobDefinition.model_validate_json('{"maxVCpus": 1}'), "imageName", "is missing"),
    (lambda: models.HTCJobDefinition.model_validate_json("{" + SECRET), "it", "must be JSON"),
    (lambda: setattr(DEFINITION, "max_vcpus", 65), "max_vcpus", "an integer from 1 to 64, got 65"),
    (lambda: setattr(DEFINITION, "max_vcpu", 6), "max_vcpu", "did you mean 'max_vcpus'?"),
    (lambda: models.HTCJob.model_validate({**IDS, "maxVCpus": "many"}), "maxVCpus", "must be an integer, got 'many'"),
    (lambda: models.HTCJob.model_validate({**IDS, "startedAt": "noon"}), "startedAt", "must be a time such as"),
    (lambda: models.HTCJob.model_validate({}), "jobUUID", "is missing"),
    (lambda: setattr(RECORD, "status", "FAILED"), "status", "read-only"),
    (lambda: delattr(RECORD, "task_id"), "task_id", "read-only"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "where", "message"), WRONG_MODELS)
def test_wrong_values_raise_the_error_of_this_package(
    make: Callable[[], object], where: str, message: str
) -> None:
    with pytest.raises(HtcValidationError) as info:
        make()
    found = {problem.where: problem.message for problem in info.value.problems}
    assert message in found[where]
    assert SECRET not in str(info.value)
    assert info.value.__context__ is None
    assert pickle.loads(pickle.dumps(info.value)).problems == info.value.problems


def test_all_problems_of_a_model_are_listed() -> None:
    with pytest.raises(HtcValidationError) as info:
        models.HTCJobDefinition(image_name="A", max_vcpus=0, max_memory=1)
    assert [problem.where for problem in info.value.problems] == [
        "image_name",
        "max_vcpus",
        "max_memory",
    ]


def test_models_inside_other_libraries_are_theirs_to_report() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(models.HTCJobDefinition).validate_python({"imageName": "A"})


def test_a_wrong_class_is_kept_and_its_signature_too() -> None:
    models.EnvPair(name="A", value="1")  # pydantic builds a model when it is first used
    assert list(inspect.signature(models.EnvPair).parameters) == ["name", "value"]

    class Definition(models.HTCJobDefinition):
        pass

    with pytest.raises(HtcValidationError, match="1 problem in Definition"):
        Definition(image_name="A")


@pytest.mark.parametrize(
    ("record", "name", "meant"),
    [
        (lambda: RECORD, "statuss", "status"),
        (lambda: RECORD, "jobUUID", "job_uuid"),
        (lambda: RECORD, "max_vcpu", "max_vcpus"),
        (lambda: DEFINITION, "exec_timeout", "exec_timeout_seconds"),
    ],
)
def test_a_misspelt_field_says_which_one_was_meant(
    record: Callable[[], object], name: str, meant: str
) -> None:
    """Even for a field that was not fetched, with one message."""
    with pytest.raises(AttributeError, match=f"has no field '{name}'; did you mean '{meant}'") as e:
        getattr(record(), name)
    assert not isinstance(e.value, NotFetchedError)
    assert "".join(traceback.format_exception(e.value)).lower().count("did you mean") == 1
    assert not hasattr(record(), "zzzzzzz")
    assert not hasattr(record(), "_private")


def test_pydantic_s_own_error_does_not_repeat_the_input() -> None:
    models.EnvPair(name="A", value="1")  # pydantic builds a model when it is first used
    with pytest.raises(ValidationError) as info:
        TypeAdapter(models.EnvPair).validate_python({"name": "A", "value": ["s3cret"]})
    assert "s3cret" not in str(info.value)


def test_every_component_is_a_request_or_a_record_or_an_enumeration() -> None:
    for value in vars(models).values():
        if isinstance(value, type) and value.__module__ == models.__name__:
            assert issubclass(value, Request | Record) or issubclass(value, models.StrEnum)
