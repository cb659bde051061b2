"""Runs whose programs are interrupted, or killed, at random moments: `python -m tests.soak.runs`."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc._counts import FINAL_STATUSES
from rescalehtc.emulator import Emulator

from .. import programs
from ..limits import HANG_SECONDS
from . import map_program
from .run_program import JOBS, PARTS

MAP = [sys.executable, "-m", "tests.soak.map_program"]
PROGRAM = [sys.executable, "-m", "tests.soak.run_program"]
# The program is submitting for most of the first time, and waiting for most of the second.
SHORT_SECONDS, LONG_SECONDS = 0.3, 1.0
# A process that has just been forked loses signals.
START_SECONDS = 0.02
SECONDS_BEFORE_KILL = (0.1, 1.5)
# What was on its way when a program ended has arrived by then.
ARRIVAL_SECONDS = 0.3
STATUSES = (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM)


def interrupt(emulator: Emulator, count: int, seed: int) -> Counter[str]:
    """Interrupt programs in their runs; every job that runs afterwards must be named."""
    chance = random.Random(seed)
    figures = Counter[str]()
    with (
        emulator.session() as rescale,
        # So that submissions, also those of retries, take some time.
        emulator.fault("submitJobs", "delay", seconds=0.1, probability=0.5, seed=seed),
    ):
        task = _task(rescale)
        for number in range(count):
            group = f"cancel-{seed}-{number}"
            numbers = [chance.choice([signal.SIGINT, signal.SIGTERM])]
            numbers += [signal.SIGINT] * (chance.random() < 0.3)
            with programs.Process(
                [*PROGRAM, group, "cancel", ""], env=emulator.environment()
            ) as item:
                time.sleep(
                    chance.uniform(START_SECONDS, chance.choice([SHORT_SECONDS, LONG_SECONDS]))
                )
                for signal_number in numbers:
                    item.send_signal(signal_number)
                    time.sleep(chance.choice([0, 0.001, 0.05]))
                output, errors = item.communicate(timeout=HANG_SECONDS)
            time.sleep(ARRIVAL_SECONDS)
            jobs = htcjobs.get_jobs(rescale, task, group=group)
            # Before the submission, a second signal may reach the interpreter while it exits.
            is_interrupted = item.returncode in STATUSES or not jobs
            assert is_interrupted, f"{group}, {numbers}: {item.returncode}, {output!r}\n{errors}"
            running = [job for job in jobs if job.json["status"] not in FINAL_STATUSES]
            for job in running:
                job_id = job.json["jobUUID"]
                is_named = job_id in errors or f"jobs of group {group!r}" in errors
                assert is_named, f"{group}, {numbers}: {job_id} runs, but:\n{errors}"
            if jobs:
                assert group in errors, errors
            figures["interrupted"] += 1
            figures["before the submission"] += not jobs
            figures["in the submission"] += bool(jobs) and "submitted" not in output
            figures["in the block"] += "submitted" in output
            figures["jobs"] += len(jobs)
            figures["jobs that continued, and were named"] += len(running)
            task.cancel_jobs_in_task(rescale)
    return figures


def kill(emulator: Emulator, count: int, seed: int, folder: Path) -> Counter[str]:
    """Kill programs during their runs and restart them, until they end normally.

    Then each job succeeded exactly once, according to the files that the jobs wrote.
    """
    chance = random.Random(seed)
    figures = Counter[str]()
    number = 0
    with emulator.session() as rescale:
        _task(rescale)
        while figures["killed"] < count:
            number += 1
            name = f"ledger-{seed}-{number}"
            command = [*PROGRAM, name, "ledger", str(folder)]
            output = _killed_until_it_ends(emulator, command, chance, figures)
            assert f"{PARTS * JOBS} SUCCEEDED" in output, output
            done = _lines(folder / f"{name}-done")
            expected = {f"{part}-{index}": 1 for part in range(PARTS) for index in range(JOBS)}
            assert done == expected, f"{name}: {done}"
            for part in range(PARTS):
                for index in range(JOBS):
                    runs = _lines(folder / f"{name}-{part}-{index}").total()
                    assert runs == index % 3 + 1, f"{name}: job {part}-{index} ran {runs} times"
            figures["runs"] += 1
            figures["jobs"] += done.total()
    return figures


def kill_maps(emulator: Emulator, count: int, seed: int, folder: Path) -> Counter[str]:
    """Kill programs in `htcjobs.map`, and start them again until they end normally.

    Then each input succeeded exactly once, or has an error with the reason.
    """
    chance = random.Random(seed)
    figures = Counter[str]()
    number = 0
    (folder / "solve.py").write_text(map_program.SOLVE)
    with emulator.session() as rescale:
        _task(rescale)
        while figures["killed"] < count:
            number += 1
            name = f"map-{seed}-{number}"
            output = _killed_until_it_ends(emulator, [*MAP, name, str(folder)], chance, figures)
            last = map_program.INPUTS - 1
            assert output.startswith(f"{last} right\ninput {last}: job "), output
            assert output.endswith("exit code 75\n"), output
            done = _lines(folder / f"{name}-done")
            assert done == {str(index): 1 for index in range(last)}, f"{name}: {done}"
            for index in range(map_program.INPUTS):
                runs = _lines(folder / f"{name}-{index}").total()
                expected = min(map_program.failures(index) + 1, map_program.MAX_ATTEMPTS)
                assert runs == expected, f"{name}: input {index} ran {runs} times"
            figures["maps"] += 1
            figures["inputs that succeeded once"] += done.total()
            figures["inputs that failed, with the reason"] += 1
    return figures


def _killed_until_it_ends(
    emulator: Emulator, command: list[str], chance: random.Random, figures: Counter[str]
) -> str:
    """Start a program until it ends before it is killed, and return its output."""
    while True:
        with programs.Process(command, env=emulator.environment()) as process:
            try:
                process.wait(chance.uniform(*SECONDS_BEFORE_KILL))
            except TimeoutError:
                process.kill()
                figures["killed"] += 1
            output, errors = process.communicate(timeout=HANG_SECONDS)
        if process.returncode == 0:
            return output
        assert process.returncode == -signal.SIGKILL, errors


def _task(rescale: HtcSession) -> htctasks.HtcTask:
    (project,) = htcprojects.get_projects(rescale)
    found = htctasks.get_tasks_with_name(rescale, project, "runs")
    return found[0] if found else htctasks.create_task_with_name(rescale, project, "runs")


def _lines(file: Path) -> Counter[str]:
    return Counter(file.read_text().splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.runs", description=__doc__)
    parser.add_argument("--signals", type=int, default=500, help="the number of interrupted runs")
    parser.add_argument(
        "--kills", type=int, default=200, help="the number of kills, of runs and of maps"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    print(f"python -m tests.soak.runs --seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, Emulator(slots=4) as emulator:
        print(interrupt(emulator, arguments.signals, arguments.seed), flush=True)
        print(kill(emulator, arguments.kills, arguments.seed, Path(folder)), flush=True)
        print(kill_maps(emulator, arguments.kills, arguments.seed, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
