"""RESCALEHTC_LOG writes one line per request to standard error, without configuration."""

from __future__ import annotations

import contextlib
import io
import logging
import pickle
import re
from typing import TYPE_CHECKING

import pytest

from rescalehtc import HtcSession, htcprojects
from rescalehtc.exceptions import HtcNotFoundError, HtcValidationError

from .limits import NOBODY
from .service import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .service import Service

PROJECTS = "GET /htc/projects"
NO_PROJECTS = Answer({"items": []})
BEGIN = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} rescalehtc INFO: "


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The package's logger, in its initial state."""
    logger = logging.getLogger("rescalehtc")
    handlers, level = logger.handlers[:], logger.level
    root = logging.getLogger()
    root_before = (root.handlers[:], root.level)
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    yield logger
    assert (root.handlers, root.level) == root_before, "the root logger is the user's"
    logger.handlers[:] = handlers
    logger.setLevel(level)


def lines_of(service: Service) -> list[str]:
    """The lines that a new session writes to standard error during a call, without prefixes."""
    written = io.StringIO()
    with (
        contextlib.redirect_stderr(written),
        HtcSession(api_key="key-1", base_url=service.url, backoff_seconds=0.0) as rescale,
    ):
        htcprojects.get_projects(rescale)
    lines = written.getvalue().splitlines()
    assert all(re.match(BEGIN, line) for line in lines)
    return [re.sub(r"\d\.\d{3} s", "_ s", re.sub(BEGIN, "", line)) for line in lines]


def test_at_info_each_attempt_is_a_line_with_operation_status_time_and_number(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCALEHTC_LOG", "info")
    failed = Answer({"errorType": "busy"}, 503, {"x-request-id": "id-1"})
    service.on(PROJECTS, failed, Answer({"items": []}, 200, {"x-request-id": "id-2"}))
    assert lines_of(service) == [
        "getToken: GET 200 in _ s, attempt 1",
        "listProjects: GET 503 in _ s, attempt 1, request id id-1: listProjects failed with "
        "HTTP 503: busy (request id id-1); retry in 0.0 s",
        "listProjects: GET 200 in _ s, attempt 2, request id id-2",
    ]


def test_at_debug_the_line_has_the_path_too(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCALEHTC_LOG", " Debug ")
    service.on(PROJECTS, NO_PROJECTS)
    assert lines_of(service) == [
        "getToken: GET /api/v1/auth/token 200 in _ s, attempt 1",
        "listProjects: GET /api/v1/htc/projects 200 in _ s, attempt 1",
    ]


def test_an_error_that_is_raised_is_named(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESCALEHTC_LOG", "info")
    service.on(PROJECTS, Answer(status=404))
    with (
        HtcSession(api_key="key-1", base_url=service.url) as rescale,
        pytest.raises(HtcNotFoundError),
    ):
        htcprojects.get_projects(rescale)
    assert re.search(r"GET 404 in \S+ s, attempt 1: HtcNotFoundError\n$", capsys.readouterr().err)
    with (
        HtcSession(api_key="key-1", base_url=NOBODY, max_retries=0) as rescale,
        pytest.raises(ConnectionError),
    ):
        htcprojects.get_projects(rescale)
    assert re.search(r"getToken: GET without a response in .*Error\n$", capsys.readouterr().err)


@pytest.mark.parametrize("value", ["verbose", "1", "warning", "debug,info"])
def test_an_invalid_value_is_an_error_that_lists_the_valid_values(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RESCALEHTC_LOG", value)
    with pytest.raises(HtcValidationError) as caught:
        HtcSession(api_key="key-1")
    [problem] = caught.value.problems
    assert str(problem) == f"RESCALEHTC_LOG: must be debug, info or unset, got {value!r}"


@pytest.mark.parametrize("value", [None, "", " "])
def test_without_a_value_nothing_is_written_and_nothing_is_changed(
    service: Service, monkeypatch: pytest.MonkeyPatch, logger: logging.Logger, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("RESCALEHTC_LOG", value)
    service.on(PROJECTS, NO_PROJECTS)
    assert lines_of(service) == []
    assert (logger.handlers, logger.level) == ([], logging.NOTSET)


def test_a_second_session_does_not_write_each_line_twice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCALEHTC_LOG", "info")
    service.on(PROJECTS, NO_PROJECTS)
    assert len(lines_of(service)) == len(lines_of(service)) == 2


@pytest.mark.parametrize("is_early", [True, False])
def test_a_level_that_the_program_sets_applies(
    service: Service, monkeypatch: pytest.MonkeyPatch, logger: logging.Logger, is_early: bool
) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    monkeypatch.setenv("RESCALEHTC_LOG", "debug")
    if not is_early:
        HtcSession(api_key="key-1", base_url=service.url)
    logger.setLevel(logging.WARNING)
    assert lines_of(service) == []
    logger.setLevel(logging.INFO)
    assert len(lines_of(service)) == 2


def test_a_program_that_sets_up_logging_gets_the_lines_without_the_variable(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    with caplog.at_level(logging.INFO, "rescalehtc"):
        assert lines_of(service) == []
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "getToken",
        "listProjects",
    ]


def test_a_copy_of_a_session_in_another_process_writes_too(
    service: Service, monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> None:
    pickled = pickle.dumps(HtcSession(api_key="key-1", base_url=service.url))
    monkeypatch.setenv("RESCALEHTC_LOG", "info")
    with pickle.loads(pickled) as again:
        assert logger.handlers == []
        again.do_authenticate()
    assert len(logger.handlers) == 1
