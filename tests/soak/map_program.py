"""A program that maps a script over inputs: `python -m tests.soak.map_program GROUP FOLDER`.

It prints the number of right results, and a line for each wrong one.
"""

from __future__ import annotations

import sys
from unittest import mock

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc._jobs import submission
from rescalehtc.htcjobs import _map, _sweep

# Inputs fail on their first attempts, and the last input on each one.
INPUTS = 10
SOLVE = """\
import json, os, sys
with open(sys.argv[1]) as file:
    value = json.load(file)
runs = os.path.join(value["folder"], f"{value['name']}-{value['number']}")
with open(runs, "a") as file:
    file.write("x\\n")
with open(runs) as file:
    attempts = len(file.readlines())
if attempts <= value["failures"]:
    sys.exit(75)
with open(os.path.join(value["folder"], f"{value['name']}-done"), "a") as file:
    file.write(f"{value['number']}\\n")
with open(sys.argv[2], "w") as file:
    json.dump(value["number"] ** 2, file)
"""
MAX_ATTEMPTS = 3


def failures(number: int) -> int:
    return number % 3 if number < INPUTS - 1 else MAX_ATTEMPTS


def main() -> None:
    name, folder = sys.argv[1:]
    inputs = [
        {"number": number, "name": name, "folder": folder, "failures": failures(number)}
        for number in range(INPUTS)
    ]
    with HtcSession(
        status_refresh_seconds=0.05, settle_seconds=0.4, backoff_seconds=0.05
    ) as rescale:
        (project,) = htcprojects.get_projects(rescale)
        (task,) = htctasks.get_tasks_with_name(rescale, project, "runs")
        policy = htcjobs.RetryPolicy(
            exit_codes=[75], max_attempts=MAX_ATTEMPTS, backoff_seconds=0.01
        )
        with (
            # Several calls, so that the submission takes some time.
            mock.patch.object(submission, "MAX_REQUESTS", 1),
            mock.patch.object(_map, "MAX_BATCH_SIZE", 3),
            mock.patch.object(_sweep, "MAX_BATCH_SIZE", 3),
        ):
            results = htcjobs.map(
                rescale,
                task,
                f"{folder}/solve.py",
                inputs,
                image="image",
                group=name,
                policy=policy,
            )
            found = {result.index: result for result in results}
    right = [item for index, item in found.items() if not item.error and item.value == index**2]
    print(f"{len(right)} right", flush=True)
    for result in found.values():
        if result not in right:
            print(f"input {result.index}: {result.error}")


if __name__ == "__main__":
    main()
