"""The examples run and print the expected output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from rescalehtc.emulator import Emulator

from .. import programs
from ..limits import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def with_emulator(emulator: Emulator) -> dict[str, str]:
    return emulator.environment()


def run(environment: dict[str, str], name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )


def run_step(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pipeline_step.py. docs/how-to/ci.md runs it with a new interpreter."""
    command = [sys.executable, str(EXAMPLES / "pipeline_step.py"), *arguments]
    return programs.run(command, env=environment, timeout=HANG_SECONDS)


def test_sweep_with_files(with_emulator: dict[str, str]) -> None:
    done = run(with_emulator, "sweep_with_files.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[1:-1]] == [
        [str(3 * i), str(9 * i * i)] for i in range(20)
    ]


def test_map_function_continues_in_its_group(
    with_emulator: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(sys.executable).parent  # the jobs need the same Python version
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for _ in range(2):
        done = run({**with_emulator, "GROUP": "g"}, "map_function.py")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "farthest: 91.74 m with {'angle': 45, 'speed': 30}\n"


def test_quickstart(with_emulator: dict[str, str]) -> None:
    done = run(with_emulator, "quickstart.py")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("20 of 20 jobs ended: 20 SUCCEEDED\n")
    assert "20 succeeded, 0 failed" in done.stdout
    assert "148,933 primes below 2,000,000" in done.stdout
    assert "SUCCEEDED in AWS_US_EAST_1, exit code 0" in done.stdout
    for argument in ("batch_size", "priority", "exec_timeout_seconds", "envs[0].name", "region"):
        assert f"\n  {argument}: " in done.stdout


def test_parameter_sweep_puts_the_results_of_all_points_together(
    with_emulator: dict[str, str],
) -> None:
    done = run(with_emulator, "parameter_sweep.py")
    assert done.returncode == 0, done.stderr
    header, *rows, farthest = done.stdout.splitlines()
    assert header == "angle,speed,distance"
    assert len(rows) == 15
    assert "30,20,35.31" in rows
    assert farthest == "farthest: 91.74 m at 45 degrees, 30 m/s"


def test_rerun_of_failures_does_the_failed_parts_again_and_no_others(
    with_emulator: dict[str, str],
) -> None:
    done = run(with_emulator, "rerun_failures.py")
    assert done.returncode == 0, done.stderr
    assert "attempt 1: 8 of 8 jobs ended: 2 FAILED, 6 SUCCEEDED" in done.stdout
    why = "ErrorNonZeroContainerExitCode, exit code 7: no license is free"
    assert done.stdout.count(why) == 2
    assert "does part 2 again" in done.stdout
    assert "does part 5 again" in done.stdout
    assert "attempt 2: 2 of 2 jobs ended: 2 SUCCEEDED" in done.stdout


def test_async_fan_out_prints_the_sum_of_each_study(with_emulator: dict[str, str]) -> None:
    done = run(with_emulator, "async_fan_out.py")
    assert done.returncode == 0, done.stderr
    sums = {limit: limit * (limit + 1) * (2 * limit + 1) // 6 for limit in (100, 200, 300, 400)}
    assert sorted(done.stdout.splitlines()) == [
        f"the squares up to {limit}² sum up to {total:,}" for limit, total in sums.items()
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "out", "err"),
    [
        (["solver:1", "sh", "-c", "echo one; echo two"], 0, "one\ntwo\n", "SUCCEEDED\n"),
        (["solver:1", "sh", "-c", "exit 3"], 3, "", "FAILED ErrorNonZeroContainerExitCode\n"),
        (["--seconds", "5", "solver:1", "true"], 2, "", "exec_timeout_seconds: must be"),
    ],
)
def test_pipeline_step_exits_as_its_job_did(
    with_emulator: dict[str, str], arguments: list[str], status: int, out: str, err: str
) -> None:
    done = run_step(with_emulator, *arguments)
    assert (done.returncode, done.stdout) == (status, out), done.stderr
    assert err in done.stderr


def test_pipeline_step_has_a_status_of_its_own_for_a_timeout() -> None:
    """The emulated minute takes a second. The job would take ten minutes."""
    with Emulator(slots=1, clock_rate=60) as emulator:
        arguments = ["--seconds", "60", "solver:1", "sleep", "600"]
        done = run_step(emulator.environment(), *arguments)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "FAILED ErrorTimeout\n" in done.stderr


def test_pipeline_step_has_a_status_of_its_own_for_a_service_that_rejects(
    with_emulator: dict[str, str],
) -> None:
    refused = {**with_emulator, "RESCALE_API_KEY": "wrong"}
    done = run_step(refused, "solver:1", "true")
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr


def test_notebook(
    with_emulator: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in with_emulator.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    nbclient.NotebookClient(
        notebook,
        timeout=HANG_SECONDS,
        startup_timeout=HANG_SECONDS,
        resources={"metadata": {"path": tmp_path}},
    ).execute()
    shown = "\n".join(
        str(output.get("text") or output["data"])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "<table" in shown
    assert "<caption>Jobs</caption>" in shown
    waiting = next(cell for cell in notebook.cells if "progress=True" in cell.source)
    progress = "".join(out["text"] for out in waiting.outputs if out.get("name") == "stderr")
    assert progress.count("\n") == 1, "one line, which is updated"
    assert "12 of 12 jobs ended: 12 SUCCEEDED" in progress
    assert "SUCCEEDED" in shown
    assert "pi is about 3.14" in shown
