"""Files of a task, inputs and results on the command line."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import boto3
import pytest

from rescalehtc import htctasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc import HtcSession, htcprojects

    from .conftest import Command


@pytest.fixture
def name(
    rescale: HtcSession, project: htcprojects.HtcProject, request: pytest.FixtureRequest
) -> str:
    """The name of a task."""
    name = f"cli {os.getpid()} {request.node.name}"
    htctasks.create_task_with_name(rescale, project, name)
    return name


def test_files_go_up_are_listed_come_down_and_are_deleted(htc: Command, name: str) -> None:
    folder = htc.folder / "cases"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b").write_text("one")
    (folder / "sub" / "c").write_text("three")
    place = f"task:{name}"
    done = htc("files", "cp", "cases", f"{place}/in")
    assert (done.status, done.output) == (0, "in/a b\nin/sub/c\n"), done.errors
    assert htc("files", "sync", "cases", f"{place}/in").output == ""
    listed = htc("files", "ls", f"{place}/in/**", "--output", "json").json
    assert [(item["path"], item["size"]) for item in listed] == [("in/a b", 3), ("in/sub/c", 5)]
    assert [row[0] for row in htc("files", "ls", place).rows] == ["3", "5"]
    assert htc("files", "sync", f"{place}/in", "down").status == 0
    assert (htc.folder / "down" / "sub" / "c").read_text() == "three"
    assert htc("files", "cp", f"{place}/in/a b", "copy").output == "copy\n"
    (htc.folder / "down" / "more").touch()
    htc("files", "sync", f"{place}/in", "down", "--delete")
    assert not (htc.folder / "down" / "more").exists()
    assert "it is a folder" in htc.refused("files", "rm", f"{place}/in", status=2)
    assert htc("files", "rm", f"{place}/in/").output == "in/a b\nin/sub/c\n"
    assert htc("files", "cp", "cases/a b", "project:/shared-by-cli/").status == 0
    assert htc("files", "rm", "project:/shared-by-cli/a b").status == 0


def test_places_that_are_none_are_refused(htc: Command, name: str) -> None:
    assert "task:NAME/path" in htc.refused("files", "ls", "here", status=2)
    assert "one of SOURCE and TARGET" in htc.refused("files", "cp", "a", "b", status=2)
    both = htc.refused("files", "sync", "project:/a", f"task:{name}/b", status=2)
    assert "one of SOURCE and TARGET" in both
    assert "needs a task's name" in htc.refused("files", "ls", "task:/a", status=2)
    assert "no task with the name" in htc.refused("files", "ls", "task:none/a", status=2)
    region = ("--region", "AWS_US_EST_1")
    for command in (("ls", "project:/"), ("env", "--task", name)):
        error = htc.refused("files", *command, *region, status=2)
        assert "did you mean 'AWS_US_EAST_1'?" in error
    assert "can't be read" in htc.refused("files", "cp", "none", f"task:{name}/", status=2)


def test_the_variables_are_for_other_programs(htc: Command, name: str) -> None:
    htc("files", "env", "--task", name)
    done = htc("files", "env", "--task", name)
    words = shlex.split(done.output)
    variables = dict(word.split("=", 1) for word in words if word != "export")
    bucket, _, key = done.errors.partition("# s3://")[2].partition(" until")[0].partition("/")
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=variables["AWS_SESSION_TOKEN"],
        endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
    )
    client.put_object(Bucket=bucket, Key=f"{key}x", Body=b"by another program")
    assert [row[0] for row in htc("files", "ls", f"task:{name}/x").rows] == ["18"]


def test_inputs_go_up_with_jobs_and_results_come_down(
    htc: Command, write: Callable[..., str], name: str
) -> None:
    (htc.folder / "in").mkdir()
    (htc.folder / "in" / "n").write_text("42")
    (htc.folder / "env").write_text("# for all jobs\n\nSCALE=a b=c\n")
    code = (
        'o="$TASK_SHARED_FOLDER/$RESCALEHTC_RESULTS/$AWS_BATCH_JOB_ARRAY_INDEX"; mkdir -p "$o"; '
        '[ $AWS_BATCH_JOB_ARRAY_INDEX = 1 ] || echo "$SCALE $(cat '
        '"$TASK_SHARED_FOLDER/$RESCALEHTC_INPUTS/n")" > "$o/x"'
    )
    file = write("sh", "-c", code, batchSize=2)
    done = htc("submit", file, "-t", name, "--inputs", "in", "--env-file", "env")
    assert done.status == 0, done.errors
    batch = done.rows[0][0]
    done = htc("results", batch, "out", "-t", name, "--interval", "0.1")
    assert done.status == 1
    assert sorted(done.rows) == [[f"{batch}:0", "1"], [f"{batch}:1", "0"]]
    assert "1 of 2 jobs left no files" in done.errors
    assert (htc.folder / "out" / "0" / "x").read_text() == "a b=c 42\n"
    assert "has no batch 'none'" in htc.refused("results", "none", "out", "-t", name, status=2)
    (htc.folder / "env").write_text("SECRET\n")
    message = htc.refused("submit", file, "-t", name, "--env-file", "env", status=2)
    assert "env:1: must be NAME=VALUE" in message
    assert "SECRET" not in message
