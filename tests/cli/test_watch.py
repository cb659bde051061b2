"""`watch` of one or several tasks and groups."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks

from .conftest import request_for
from .test_terminal import plain

if TYPE_CHECKING:
    from .conftest import Command

FAST = ("--interval", "0.1")


@pytest.fixture
def names(
    rescale: HtcSession, project: htcprojects.HtcProject, request: pytest.FixtureRequest
) -> tuple[str, str]:
    """Two tasks: one with a job that succeeds in group `a` and one that fails in `b`, one empty."""
    names = tuple(f"{word} {os.getpid()} {request.node.name}" for word in ("jobs", "none"))
    task, _ = (htctasks.create_task_with_name(rescale, project, name) for name in names)
    htcjobs.submit(rescale, task, [request_for("true")], group="a")
    htcjobs.submit(rescale, task, [request_for("false")], group="b")
    return names[0], names[1]


def test_a_group_is_watched_without_the_other_jobs(htc: Command, names: tuple[str, str]) -> None:
    done = htc("watch", "-t", names[0], "-g", "a", *FAST)
    assert (done.status, done.output) == (0, "SUCCEEDED  1\n")
    assert htc("watch", "-t", names[0], "-g", "b", *FAST).status == 1


def test_several_groups_are_watched_at_the_same_time(htc: Command, names: tuple[str, str]) -> None:
    done = htc("watch", "-t", names[0], "-g", "a", "-g", "b", "-g", "a", *FAST, "-o", "json")
    assert done.status == 1
    assert [(item["group"], item["jobStatuses"]) for item in done.json] == [
        ("a", {"SUCCEEDED": 1}),
        ("b", {"FAILED": 1}),
    ]
    lines = done.errors.splitlines()
    assert {"a: 1 of 1 jobs ended: 1 SUCCEEDED", "b: 1 of 1 jobs ended: 1 FAILED"} <= {*lines}
    table = htc("watch", "-t", names[0], "-g", "a", "-g", "b", *FAST)
    assert table.rows == [["a", "1", "1", "1", "SUCCEEDED"], ["b", "1", "1", "1", "FAILED"]]


def test_several_tasks_are_watched_at_the_same_time(htc: Command, names: tuple[str, str]) -> None:
    done = htc("watch", "-t", names[0], "-t", names[1], *FAST, "-o", "json")
    assert done.status == 1
    assert [(item["taskName"], item["jobs"], item["ended"]) for item in done.json] == [
        (names[0], 2, 2),
        (names[1], 0, 0),
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_has_one_bar_per_group(
    htc: Command, names: tuple[str, str], columns: int
) -> None:
    arguments = ("watch", "-t", names[0], "-g", "a", "-g", "b", *FAST)
    done = htc.under_terminal(*arguments, columns=columns)
    assert done.status == 1
    lines = [line.rstrip() for line in plain(done).splitlines()]
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("a ") and "1/1 ended 1 SUCCEEDED" in line for line in lines)
    assert any(line.startswith("b ") and "1/1 ended 1 FAILED" in line for line in lines)
    assert lines[-1].startswith("next: rescalehtc why --task ")


def test_a_time_limit_is_for_all_of_them(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    htcjobs.submit(rescale, task, [request_for("true")], group="a").wait(rescale)
    htcjobs.submit(rescale, task, [request_for("sleep", "600")], group="b")
    arguments = ("watch", "-t", task.json["taskId"], "-g", "a", "-g", "b", *FAST)
    done = htc(*arguments, "--timeout", "0.2")
    assert (done.status, done.output) == (4, "")
    assert "1 of 2 jobs ended" in done.errors
    assert "the jobs continue" in done.errors
    task.cancel_jobs_in_task(rescale)


def test_wrong_groups_are_rejected(htc: Command, names: tuple[str, str]) -> None:
    error = htc.refused("watch", "-t", names[0], "-t", names[1], "-g", "a", status=2)
    assert "single --task" in error
    assert "no group 'c'" in htc.refused("watch", "-t", names[0], "-g", "c", status=2)
