"""Safe paths, safe pages, and strict parsing of responses."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks
from rescalehtc.exceptions import (
    HtcBadRequestError,
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcForbiddenError,
    HtcNotFoundError,
    HtcRateLimitError,
    HtcResponseError,
    HtcServerError,
    HtcStatusError,
    HtcTimeoutError,
    HtcValidationError,
)

from .limits import NOBODY, SHORT_SECONDS
from .service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import ReceivedRequest

PROJECTS = "GET /htc/projects"
JOBS = "GET /htc/projects/p/tasks/t/jobs"


# ---- paths


@pytest.mark.parametrize(
    ("given_id", "path"),
    [
        ("parent:0", "/htc/projects/parent:0"),
        ("a b", "/htc/projects/a%20b"),
        ("../../auth/token", "/htc/projects/..%2F..%2Fauth%2Ftoken"),
        ("a?x=1", "/htc/projects/a%3Fx%3D1"),
        ("a#b", "/htc/projects/a%23b"),
        ("a%2Fb", "/htc/projects/a%252Fb"),
        ("ä\n", "/htc/projects/%C3%A4%0A"),
        ("{taskId}", "/htc/projects/%7BtaskId%7D"),
    ],
)
def test_an_id_is_quoted_so_that_it_stays_one_segment(
    service: Service, scripted: HtcSession, given_id: str, path: str
) -> None:
    """In 1.1.0, `../../auth/token` calls another operation, and `a?x=1` truncates the path."""
    with pytest.raises(HtcNotFoundError):
        api.get_htc_projects(scripted, given_id)
    assert service.requests[-1].path == path
    assert service.requests[-1].query == {}


@pytest.mark.parametrize("given_id", ["", ".", "..", None, 5, b"a"])
def test_an_id_that_is_none_is_rejected(
    service: Service, scripted: HtcSession, given_id: object
) -> None:
    with pytest.raises(HtcValidationError, match="taskId: must be a non-empty string"):
        api.delete_htc_projects_tasks(scripted, "p", given_id)  # type: ignore[arg-type]
    assert not service.requests


@given(st.text())
def test_no_id_leaves_its_operation(given_id: str) -> None:
    try:
        call = api.GET_JOB.call({"projectId": "p", "taskId": given_id, "jobId": "j"})
    except HtcValidationError:
        return
    parts = call.target.split("/")
    assert (len(parts), parts[:5], parts[6:]) == (
        8,
        ["", "htc", "projects", "p", "tasks"],
        ["jobs", "j"],
    )
    assert parts[5] not in ("", ".", "..")
    assert not set(parts[5]) & set("?#\\ \n")


@pytest.mark.parametrize("name", ["a/../b", "../x", "a//b", "/a", "a/", "."])
def test_an_image_name_may_have_segments_but_leads_nowhere_else(name: str) -> None:
    with pytest.raises(HtcValidationError, match="imageName"):
        api.GET_IMAGE_STATUS.call({"projectId": "p", "imageName": name})
    call = api.GET_IMAGE_STATUS.call({"projectId": "p", "imageName": "a/b:1"})
    assert call.target.endswith("/images/a/b:1")


def test_a_call_needs_its_path_parameters_and_no_others() -> None:
    with pytest.raises(HtcValidationError, match=r"(task|job)Id: must be given"):
        api.GET_JOB.call({"projectId": "p"})
    with pytest.raises(HtcValidationError, match="taskId: must be omitted"):
        api.GET_PROJECT.call({"projectId": "p", "taskId": "t"})


def test_an_empty_group_is_rejected_because_it_might_mean_all(
    service: Service, scripted: HtcSession
) -> None:
    with pytest.raises(HtcValidationError, match="group: must be None or a non-empty string"):
        api.post_htc_projects_tasks_jobs_cancel(scripted, "p", "t", group="")
    assert not service.requests


def test_a_name_that_makes_a_url_too_long_is_rejected(
    service: Service, scripted: HtcSession
) -> None:
    message = "listJobs.*\n  the path with its query: must be at most 60,000 characters long"
    with pytest.raises(HtcValidationError, match=message):
        api.get_htc_projects_tasks_jobs(scripted, "p", "t", group="g" * 70_000)
    with pytest.raises(HtcValidationError, match=message):
        api.get_htc_projects_tasks_jobs(scripted, "p", "t", job_ids=["j" * 700] * 100)
    assert not service.requests


WIRE = [
    (lambda r: api.get_htc_projects(r, only_my_projects=True, page_size=7), "GET /htc/projects",
     {"onlyMyProjects": ["true"], "pageSize": ["7"]}),
    (lambda r: api.get_htc_projects(r, only_my_projects=False), "GET /htc/projects",
     {"onlyMyProjects": ["false"]}),
    (lambda r: api.get_htc_projects_tasks_jobs(r, "p", "t", group="a b&c", job_ids=["j:0", "j:1"],
                                               status="FAILED", view_type="SIMPLE"), JOBS,
     {"group": ["a b&c"], "jobId": ["j:0", "j:1"], "status": ["FAILED"], "viewType": ["SIMPLE"]}),
    (lambda r: api.post_htc_projects_tasks_jobs_cancel(r, "p", "t", group="g"), f"POST {JOBS[4:]}/cancel",
     {"group": ["g"]}),
    (lambda r: api.post_htc_projects_tasks_jobs_batch(r, "p", "t", [], group="g"), f"POST {JOBS[4:]}/batch",
     {"group": ["g"]}),
    (lambda r: api.get_htc_projects_tasks_jobs_logs(r, "p", "t", "j", 3, 5, sort="asc"), f"{JOBS}/j/logs",
     {"pageSize": ["5"], "sort": ["asc"]}),
    (lambda r: api.get_htc_projects_tasks_jobs_logs(r, "p", "t", "j"), f"{JOBS}/j/logs",
     {"pageSize": ["5000"]}),
    (lambda r: api.get_htc_projects_tasks_group_summary_statistics(r, "p", "t", groups=["a", "b"]),
     "GET /htc/projects/p/tasks/t/group-summary-statistics", {"group": ["a", "b"]}),
]  # fmt: skip


@pytest.mark.parametrize(("call", "operation", "query"), WIRE)
def test_parameters_are_sent_under_the_service_s_names(
    service: Service, scripted: HtcSession, call: Any, operation: str, query: dict[str, list[str]]
) -> None:
    service.on(operation, Answer({"items": []} if operation.startswith("GET") else []))
    call(scripted)
    assert service.requests_to(operation)[0].query == query


def test_a_body_is_sent_as_json(service: Service, scripted: HtcSession) -> None:
    service.on("POST /htc/projects", Answer({"projectId": "p"}))
    api.post_htc_projects(scripted, {"projectName": "ünï"})
    sent = service.requests_to("POST /htc/projects")[0]
    assert sent.headers["content-type"] == "application/json"
    assert sent.json == {"projectName": "ünï"}


@pytest.mark.parametrize("expected", [0, 1, 2, 3, 4, 5, 9, None])
def test_at_most_the_requested_items_are_returned_and_no_page_too_many_fetched(
    service: Service, scripted: HtcSession, expected: int | None
) -> None:
    logs = f"{JOBS}/j/logs"
    pages = [Answer({"items": [{"message": str(n)}] * 2, "next": f"?pageIndex={n}"}) for n in "12"]
    service.on(logs, *pages, Answer({"items": [{"message": "3"}] * 2}))
    lines = api.get_htc_projects_tasks_jobs_logs(scripted, "p", "t", "j", expected)
    count = 6 if expected is None else min(expected, 6)
    assert [line["message"] for line in lines] == list("112233")[:count]
    assert len(service.requests_to(logs)) == (count + 1) // 2


def test_a_payload_that_is_no_json_is_rejected_before_it_is_sent(
    service: Service, scripted: HtcSession
) -> None:
    loop: list[object] = []
    loop.append(loop)
    for payload in ({"a": {1, 2}}, {"a": float("nan")}, {"a": loop}):
        with pytest.raises(HtcValidationError, match="payload: must be JSON"):
            api.post_htc_projects(scripted, payload)
    assert not service.requests


# ---- pages


def page(*names: str, **fields: object) -> Answer:
    items = [{"projectId": f"id of {name}", "projectName": name} for name in names]
    return Answer({"items": items, **fields})


def names(rescale: HtcSession) -> list[str]:
    return [project.json["projectName"] for project in htcprojects.get_projects(rescale)]


@pytest.mark.parametrize("absent", [{}, {"next": None}])
def test_a_listing_ends_where_next_is_absent_or_null(
    service: Service, scripted: HtcSession, absent: dict[str, None]
) -> None:
    following = f"{service.url}/htc/projects?pageIndex=2&pageSize=1000"
    service.on(PROJECTS, page("a", "b", next=following), page("c", **absent))
    assert names(scripted) == ["a", "b", "c"]
    assert [request.query for request in service.requests_to(PROJECTS)] == [
        {"pageSize": ["1000"]},
        {"pageIndex": ["2"], "pageSize": ["1000"]},
    ]


def test_a_page_that_names_itself_is_read_once(service: Service, scripted: HtcSession) -> None:
    service.on(PROJECTS, page("a", next=f"{service.url}/htc/projects?pageSize=1000"))
    read: list[str] = []
    projects = htcprojects.iter_projects(scripted)
    with pytest.raises(HtcResponseError, match="no end: a page names an earlier one"):
        read.extend(project.json["projectName"] for project in projects)
    assert read == ["a"]


def refuses_more_than(largest: int, *pages: Answer) -> Callable[[ReceivedRequest], Answer]:
    """A response that rejects larger pages with 400."""
    left = list(pages)

    def answer(request: ReceivedRequest) -> Answer:
        if int(request.query["pageSize"][0]) > largest:
            return Answer({"message": "pageSize is too large"}, status=400)
        return left.pop(0)

    return answer


def test_a_service_that_rejects_large_pages_gets_smaller_requests(
    service: Service, scripted: HtcSession
) -> None:
    following = f"{service.url}/htc/projects?pageIndex=2&pageSize=500"
    pages = (page("a", next=following), page("b"), page("c"))
    service.on(PROJECTS, refuses_more_than(500, *pages))
    assert names(scripted) == ["a", "b"]
    assert names(scripted) == ["c"]
    sizes = [request.query["pageSize"] for request in service.requests_to(PROJECTS)]
    assert sizes == [["1000"], ["500"], ["500"], ["500"]]


def test_a_listing_that_is_rejected_for_another_reason_is_rejected(
    service: Service, scripted: HtcSession
) -> None:
    service.on(PROJECTS, Answer({"message": "no"}, status=400), Answer(status=400), page("a"))
    with pytest.raises(HtcBadRequestError):
        names(scripted)
    assert names(scripted) == ["a"]
    sizes = [request.query["pageSize"] for request in service.requests_to(PROJECTS)]
    assert sizes == [["1000"], ["500"], ["1000"]]


@pytest.mark.parametrize("item", [None, 5, "x", []])
def test_an_item_that_is_no_object_is_an_error(
    service: Service, scripted: HtcSession, item: object
) -> None:
    service.on(PROJECTS, Answer({"items": [item]}))
    with pytest.raises(HtcResponseError, match=r"listProjects: .* not a JSON object"):
        htcprojects.get_projects(scripted)


@pytest.mark.parametrize("relative", ["/api/v1/htc/projects?pageIndex=2", "?pageIndex=2", "projects?pageIndex=2"])  # fmt: skip
def test_a_relative_next_is_followed(service: Service, scripted: HtcSession, relative: str) -> None:
    service.on(PROJECTS, page("a", next=relative), page("b"))
    assert names(scripted) == ["a", "b"]


@pytest.mark.parametrize(
    "foreign",
    ["https://elsewhere.example/x", "//elsewhere.example/x", "https://127.0.0.1/x", "http://127.0.0.1:1/x", "http://localhost/x", "http://[::1", "http://127.0.0.1:x/", "javascript:x", "http://u:p@127.0.0.1/x", "\ud800"],
)  # fmt: skip
def test_a_next_at_another_address_is_an_error_and_nothing_is_sent_there(
    service: Service, scripted: HtcSession, foreign: str
) -> None:
    """1.1.0 silently returns an incomplete listing."""
    service.on(PROJECTS, page("a", next=foreign))
    with pytest.raises(HtcResponseError, match=r"listProjects: .* nothing was sent there"):
        names(scripted)


def test_a_circle_of_pages_is_an_error(service: Service, scripted: HtcSession) -> None:
    """1.1.0 never ends."""
    first, second = "/api/v1/htc/projects?pageIndex=1", "/api/v1/htc/projects?pageIndex=2"
    service.on(PROJECTS, page("a", next=first), page("b", next=second), page("c", next=first))
    with pytest.raises(
        HtcResponseError, match="listProjects: the listing has no end: a page names an earlier one"
    ):
        names(scripted)
    assert len(service.requests_to(PROJECTS)) <= 4


def test_an_empty_page_may_have_a_next_one(service: Service, scripted: HtcSession) -> None:
    service.on(PROJECTS, page(next="?pageIndex=1"), page(next="?pageIndex=2"), page("a"))
    assert names(scripted) == ["a"]


def test_an_error_in_the_middle_is_raised_and_not_a_short_listing(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    job = {"jobUUID": "j:0"}
    service.on(JOBS, Answer({"items": [job], "next": "?pageIndex=1"}), Answer(status=500))
    with pytest.raises(HtcServerError):
        htcjobs.get_jobs(scripted, scripted_task)


def test_pages_are_fetched_as_they_are_needed(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    pages = [[{"jobUUID": f"{n}:{i}"} for i in range(3)] for n in range(9)]
    service.on(
        JOBS, *(Answer({"items": page, "next": f"?pageIndex={n}"}) for n, page in enumerate(pages))
    )
    iterator = htcjobs.iter_jobs(scripted, scripted_task)
    assert [next(iterator).json["jobUUID"] for _ in range(4)] == ["0:0", "0:1", "0:2", "1:0"]
    assert len(service.requests_to(JOBS)) == 2


# ---- responses


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>gateway</html>", b"{", b"null", b"7", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"items": 5}', b'{"items": [], "next": 5}', b'{"other": []}'],
)  # fmt: skip
def test_an_answer_that_is_no_page_is_an_error_that_names_the_operation(
    service: Service, scripted: HtcSession, body: bytes
) -> None:
    service.on(PROJECTS, Answer(body))
    with pytest.raises(HtcResponseError, match="listProjects") as info:
        names(scripted)
    assert len(str(info.value)) < 500


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_comes_back_ends_in_an_htc_exception_or_a_page(body: bytes) -> None:
    from rescalehtc._wire.answer import Response, read_page

    for status in (200, 204, 302, 400, 401, 418, 503):
        try:
            read_page(api.LIST_PROJECTS.call(), Response(status, body), "http://127.0.0.1:1/api/v1")
        except HtcException as error:
            assert str(error).isprintable()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, HtcBadRequestError),
        (403, HtcForbiddenError),
        (404, HtcNotFoundError),
        (409, HtcStatusError),
        (429, HtcRateLimitError),
        (500, HtcServerError),
        (503, HtcServerError),
    ],
)
def test_each_error_status_has_its_exception(
    service: Service, scripted: HtcSession, status: int, kind: type[HtcStatusError]
) -> None:
    service.on(PROJECTS, Answer(status=status))
    with pytest.raises(kind, match=f"listProjects failed with HTTP {status}") as info:
        names(scripted)
    assert type(info.value) is kind
    assert (info.value.status_code, info.value.operation) == (status, "listProjects")


@pytest.mark.parametrize(
    ("body", "error_type", "description"),
    [
        ({"error": "A", "errorDescription": "b"}, "A", "b"),
        ({"errorType": "A", "errorDescription": "b", "message": "c"}, "A", "b"),
        ({"error": "IMAGE_UNAVAILABLE", "message": "b"}, "IMAGE_UNAVAILABLE", "b"),
        ({"error": None, "errorDescription": 5}, None, None),
        (["x"], None, None),
        ({"error": "A"}, "A", None),
        (b"<html>\x1b[31m\n" + b"x" * 1000, None, "<html> [31m " + "x" * 188),
        (None, None, None),
    ],
)
def test_the_service_s_words_are_in_the_error_and_its_pages_are_cut(
    service: Service,
    scripted: HtcSession,
    body: object,
    error_type: str | None,
    description: str | None,
) -> None:
    service.on(PROJECTS, Answer(body, 400))
    with pytest.raises(HtcBadRequestError) as info:
        names(scripted)
    assert (info.value.error_type, info.value.description or None) == (error_type, description)


def test_what_was_sent_is_not_in_the_error(service: Service, scripted: HtcSession) -> None:
    """In 1.1.0, it is, with the values of environment variables."""
    service.on("POST /htc/projects", Answer({"errorType": "A"}, 400))
    with pytest.raises(HtcBadRequestError) as info:
        api.post_htc_projects(scripted, {"projectName": "s3cret"})
    assert "s3cret" not in str(info.value)


SECRET_BODIES = [
    ("GET /auth/token", b'{"tokenValue":"s3cret"'),
    ("GET /auth/token", b"s3cret"),
    ("POST /htc/projects", b"you sent s3cret"),
    ("POST /htc/projects", b'[{"name":"A","value":"s3cret"}'),
    (PROJECTS, b'{"items": [{"name":"PASSWORD","value":"s3cret"}]'),
    (PROJECTS, b' "s3cret'),
]


@pytest.mark.parametrize(("operation", "body"), SECRET_BODIES)
@pytest.mark.parametrize("status", [200, 400])
def test_a_body_that_may_hold_a_secret_is_not_shown(
    service: Service, scripted: HtcSession, operation: str, body: bytes, status: int
) -> None:
    service.on(operation, Answer(body, status))
    create = operation.startswith("POST")
    with pytest.raises(HtcException) as info:
        api.post_htc_projects(scripted, {}) if create else names(scripted)
    assert "s3cret" not in str(info.value)


@pytest.mark.parametrize("header", ["Token s3cret\n", "Token s3crét", "Token s3cret\0"])
def test_a_header_that_can_not_be_sent_is_not_shown(scripted: HtcSession, header: str) -> None:
    with pytest.raises(HtcCredentialsError) as info:
        api.get_auth_token(scripted, header)
    assert "s3c" not in str(info.value)


def test_text_that_utf_8_can_not_encode_is_rejected(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    with pytest.raises(HtcValidationError, match="UTF-8"):
        htcjobs.get_jobs(scripted, scripted_task, "\ud800")
    with pytest.raises(HtcValidationError, match="projectId: must be text that UTF-8 can encode"):
        api.get_htc_projects(scripted, "\ud800")
    assert not service.requests


def test_a_redirect_is_not_followed(service: Service, scripted: HtcSession) -> None:
    service.on(PROJECTS, Answer(status=302, headers={"Location": f"{service.url}/elsewhere"}))
    with pytest.raises(HtcResponseError, match="redirect"):
        names(scripted)
    assert not service.requests_to("GET /elsewhere")


# ---- connections


def test_a_service_that_is_not_there_is_an_htc_exception() -> None:
    with (
        HtcSession(api_key="k", base_url=NOBODY, max_retries=0) as rescale,
        pytest.raises(HtcConnectionError, match="getToken: no response from"),
    ):
        names(rescale)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_no_proxy_leads_to_this_machine(
    service: Service, scripted: HtcSession, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    service.on(PROJECTS, page("a"))
    assert names(scripted) == ["a"]
    with (
        HtcSession(api_key="k", base_url="http://service.invalid", max_retries=0) as rescale,
        pytest.raises(HtcConnectionError, match=r"getToken: no response from|can be set up"),
    ):
        names(rescale)


@pytest.mark.parametrize(
    "drip", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"], ids=["silent", "in drops"]
)
def test_an_answer_that_takes_too_long_is_an_htc_exception(drip: bytes) -> None:
    """1.1.0 has no total timeout for a slow body."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        over = threading.Event()

        def answer() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(drip)
                while not over.wait(0.05):
                    connection.sendall(b"x" if drip else b"")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with (
            HtcSession(
                api_key="k", base_url=url, timeout_seconds=SHORT_SECONDS, max_retries=0
            ) as rescale,
            pytest.raises(
                HtcTimeoutError, match=r"getToken: no complete response .* within [\d.]+ s"
            ) as info,
        ):
            names(rescale)
        assert isinstance(info.value, TimeoutError)
        over.set()
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", b"\0\0\r\n\r\n"])  # fmt: skip
def test_an_answer_that_breaks_off_is_an_htc_exception(sent: bytes) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with (
            HtcSession(api_key="k", base_url=url, max_retries=0) as rescale,
            pytest.raises(HtcConnectionError, match="getToken"),
        ):
            names(rescale)
        thread.join()
