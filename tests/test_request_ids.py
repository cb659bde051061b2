"""Exceptions have the service's request id, also at the end of their message."""

from __future__ import annotations

import copy
import io
import pickle
from typing import TYPE_CHECKING

import pytest

from rescalehtc import HtcSession, api, htcjobs, htcprojects
from rescalehtc.exceptions import (
    HtcBadRequestError,
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcForbiddenError,
    HtcNotFoundError,
    HtcResponseError,
    HtcServerError,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)

from .faults.wire import Wire, answer, truncated
from .service import Answer
from .test_hooks import JOB

if TYPE_CHECKING:
    from rescalehtc.emulator import Emulator
    from rescalehtc.htctasks import HtcTask

    from .service import Service

PROJECTS = "GET /htc/projects"
IMAGE = "GET /htc/projects/p/container-registry/images/i"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"


def failure(rescale: HtcSession) -> HtcException:
    with pytest.raises(HtcException) as caught:
        htcprojects.get_projects(rescale)
    return caught.value


@pytest.mark.parametrize(
    "header",
    [
        "x-amzn-RequestId",
        "x-amz-request-id",
        "X-Request-ID",
        "x-ms-request-id",
        "X-GUploader-UploadID",
        "x-amz-apigw-id",
        "x-amz-cf-id",
    ],
)
def test_it_is_read_from_each_header_that_is_in_use(
    service: Service, scripted: HtcSession, header: str
) -> None:
    service.on(PROJECTS, Answer({"errorType": "no"}, 400, {header: "id-1"}))
    error = failure(scripted)
    assert isinstance(error, HtcBadRequestError)
    assert error.request_id == "id-1"
    assert str(error) == "listProjects failed with HTTP 400: no (request id id-1)"


def test_the_service_s_own_id_comes_before_those_of_gateways_and_proxies(
    service: Service, scripted: HtcSession
) -> None:
    headers = {"x-amz-cf-id": "cf", "x-amz-apigw-id": "gw", "x-amzn-requestid": "service"}
    service.on(PROJECTS, Answer(None, 403, headers))
    assert failure(scripted).request_id == "service"


@pytest.mark.parametrize("headers", [{}, {"x-request-id": ""}, {"x-request-id": " "}])
def test_without_one_it_is_none_and_the_message_says_nothing(
    service: Service, scripted: HtcSession, headers: dict[str, str]
) -> None:
    service.on(PROJECTS, Answer(None, 403, headers))
    error = failure(scripted)
    assert error.request_id is None
    assert str(error) == "listProjects failed with HTTP 403"
    assert HtcForbiddenError("o", 403).request_id is None


def test_it_is_kept_in_pickles_and_copies(service: Service, scripted: HtcSession) -> None:
    service.on(PROJECTS, Answer(None, 403, {"x-request-id": "id-1"}))
    error = failure(scripted)
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (again.request_id, str(again)) == ("id-1", str(error))


def test_of_several_attempts_it_is_the_last_one_s(service: Service, scripted: HtcSession) -> None:
    attempts = [Answer(None, 503, {"x-request-id": f"id-{number}"}) for number in range(6)]
    service.on(PROJECTS, *attempts)
    error = failure(scripted)
    assert isinstance(error, HtcServerError)
    assert error.request_id == "id-5"


def test_an_answer_that_is_not_understood_has_it(service: Service, scripted: HtcSession) -> None:
    service.on(PROJECTS, Answer({"items": 5}, 200, {"x-request-id": "id-1"}))
    error = failure(scripted)
    assert isinstance(error, HtcResponseError)
    assert str(error).endswith("(request id id-1)")


def test_an_answer_that_breaks_off_has_it() -> None:
    whole = answer({"items": []}, headers={"x-request-id": "id-1"})
    with Wire() as wire, HtcSession(api_key="k", base_url=wire.url, max_retries=0) as rescale:
        wire.on(PROJECTS, lambda connection, request: connection.sendall(whole.encoded()[:-5]))
        error = failure(rescale)
        assert isinstance(error, HtcConnectionError)
        assert error.request_id == "id-1"
        wire.on(PROJECTS, truncated({"items": []}))
        assert failure(rescale).request_id is None


def test_it_is_harmless_in_a_message(service: Service, scripted: HtcSession) -> None:
    """The service may send anything."""
    service.on(PROJECTS, Answer(None, 403, {"x-request-id": "a\x1b[31m\tb" + "c" * 5000}))
    request_id = failure(scripted).request_id
    assert request_id is not None
    assert request_id.startswith("a [31m bccc")
    assert len(request_id) == 200


def test_a_rejected_credential_has_it(service: Service, scripted: HtcSession) -> None:
    service.on("GET /auth/token", Answer(None, 401, {"x-request-id": "id-1"}))
    error = failure(scripted)
    assert isinstance(error, HtcCredentialsError)
    assert error.request_id == "id-1"


def test_a_rejected_upload_has_it(service: Service, scripted: HtcSession) -> None:
    service.on("PUT /store", Answer(b"<Error/>", 403, {"x-amz-request-id": "S3-1"}))
    with pytest.raises(HtcForbiddenError, match=r"\(request id S3-1\)$") as caught:
        scripted.upload(f"{service.url}/store?X-Amz-Signature=s", io.BytesIO(b"content"))
    assert caught.value.request_id == "S3-1"


def test_an_uncertain_submission_has_its_cause_s_once_in_the_message(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, Answer(None, 500, {"x-request-id": "id-1"}))
    service.on("GET /htc/projects/p/tasks/t/jobs", Answer({"items": []}))
    with pytest.raises(SubmissionUncertainError) as caught:
        htcjobs.create_single_job(scripted, scripted_task, "ON_DEMAND_ECONOMY", "i", 60)
    assert caught.value.request_id == "id-1"
    assert str(caught.value).count("id-1") == 1
    with pytest.raises(SubmissionIncompleteError) as incomplete:
        htcjobs.submit(scripted, scripted_task, [{"htcJobDefinition": JOB}])
    assert incomplete.value.request_id == "id-1"
    assert str(incomplete.value).count("id-1") == 1


def test_the_emulator_sends_one_that_is_different_each_time(emulator: Emulator) -> None:
    with emulator.session() as rescale:
        ids: set[str | None] = set()
        for _ in range(2):
            with pytest.raises(HtcNotFoundError) as caught:
                api.get_htc_projects(rescale, "no-such-project")
            ids.add(caught.value.request_id)
    assert len(ids) == 2
    assert None not in ids
