"""`rescalehtc try`: one job in its image, as it would run, without an account."""

import json
import os
import sys
from functools import partial

import pytest

from .. import programs
from ..limits import HANG_SECONDS
from .conftest import IMAGE, run


@pytest.fixture
def try_job(tmp_path, engine):
    """Run the command on a submit request; return its status, output and errors."""

    def try_job(*arguments, requests=1, **definition):
        request = {
            "batchSize": 8,
            "regions": ["AWS_EU_WEST_1"],
            "retryStrategy": {"maxRetries": 3},
            "htcJobDefinition": {
                "imageName": IMAGE,
                "commands": ["sh", "-c", "echo $AWS_BATCH_JOB_ARRAY_INDEX"],
                "priority": "ON_DEMAND_ECONOMY",
                "architecture": "X86",
                "execTimeoutSeconds": 600,
                "maxVCpus": 1,
                "maxMemory": 64,
                **definition,
            },
        }
        path = tmp_path / "jobs.json"
        path.write_text(json.dumps([request] * requests if requests != 1 else request))
        command = [sys.executable, "-m", "rescalehtc.cli", "try", str(path), *arguments]
        keys = ("RESCALE_API_KEY", "RESCALE_API_BASE_URL", "HOME")
        variables = {name: value for name, value in os.environ.items() if name not in keys}
        done = programs.run(command, env=variables, timeout=HANG_SECONDS)
        return done.returncode, done.stdout, done.stderr

    return try_job


def shell(code):
    return ["sh", "-c", code]


def test_a_job_has_its_index_variables_and_limits(try_job):
    code = "echo $AWS_BATCH_JOB_ARRAY_INDEX $RESCALE_HTC_REGION $A; id -u; ls $TASK_SHARED_FOLDER"
    envs = [{"name": "A", "value": "the job's"}]
    status, output, errors = try_job("--index", "7", commands=shell(code), envs=envs)
    assert (status, output) == (0, "7 AWS_EU_WEST_1 the job's\n1000\n")
    assert errors == "job 7 is SUCCEEDED, exit code 0\n"


def test_a_job_that_fails_says_how_and_is_not_retried(try_job):
    status, output, errors = try_job(commands=shell("echo once; exit 3"))
    assert (status, output) == (1, "once\n")
    reason = "ErrorNonZeroContainerExitCode: the command ended with exit code 3"
    assert errors == f"job 0 is FAILED, exit code 3: {reason}\n"
    status, _, errors = try_job(commands=shell('x=a; while true; do x="$x$x"; done'))
    assert (status, errors.split(": ")[1]) == (1, "ErrorNotEnoughMemory")


def test_an_image_is_found_under_the_name_that_it_was_pushed_by(try_job, engine):
    digits = run(engine, "image", "inspect", "--format={{.Id}}", IMAGE).strip()
    digits = digits.removeprefix("sha256:")[:10]
    assert try_job(imageName=f"elsewhere/name:2-{digits}")[:2] == (0, "0\n")


def test_an_image_that_does_not_fit_or_is_not_there_is_refused(try_job):
    status, _, errors = try_job(architecture="AARCH64")
    assert status == 1
    assert "the image is for amd64 and the job for AARCH64" in errors
    assert try_job("--any-architecture", architecture="AARCH64")[:2] == (0, "0\n")
    status, _, errors = try_job(imageName="not-there:1")
    assert status == 1
    assert "has no image not-there:1" in errors


def test_what_can_not_be_tried_is_refused_before_anything_runs(try_job):
    refused = partial(try_job, commands=["true"])
    status, _, errors = refused("--index", "8")
    assert (status, "must be below the request's batchSize, 8" in errors) == (2, True)
    status, _, errors = refused(requests=2)
    assert (status, "has 2 submit requests" in errors) == (2, True)
    status, _, errors = refused(maxMemory=1)
    assert (status, "maxMemory" in errors) == (2, True)
