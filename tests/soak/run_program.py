"""A program that submits a run and waits for it: `python -m tests.soak.run_program GROUP KIND FOLDER`.

It writes what it learns to its standard error, as a user's program does.
"""

from __future__ import annotations

import sys
from unittest import mock

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc._jobs import submission

INDEX = "i=${RESCALEHTC_INDEX:-$AWS_BATCH_JOB_ARRAY_INDEX}; "
# Job 0 fails immediately, so that it is retried while the other jobs run.
SCRIPTS = {
    "cancel": INDEX + "[ $i = 0 ] && exit 75; sleep 60",
    # Each fails on its first attempts, and then writes down that it succeeded.
    "ledger": INDEX
    + "f=$FOLDER/$NAME-$PART-$i; echo x >> $f; [ $(wc -l < $f) -gt $((i % 3)) ] || exit 75; "
    + "echo $PART-$i >> $FOLDER/$NAME-done",
}
PARTS = 3
JOBS = 3


def requests(name: str, kind: str, folder: str) -> list[dict[str, object]]:
    return [
        {
            "batchSize": JOBS,
            "htcJobDefinition": {
                "imageName": "image",
                "commands": ["sh", "-c", SCRIPTS[kind]],
                "execTimeoutSeconds": 120,
                "envs": {"NAME": name, "PART": str(part), "FOLDER": folder},
            },
        }
        for part in range(PARTS)
    ]


def main() -> None:
    name, kind, folder = sys.argv[1:]
    with HtcSession(
        status_refresh_seconds=0.05, settle_seconds=0.4, backoff_seconds=0.05
    ) as rescale:
        (project,) = htcprojects.get_projects(rescale)
        (task,) = htctasks.get_tasks_with_name(rescale, project, "runs")
        policy = htcjobs.RetryPolicy(exit_codes=[75], max_attempts=4, backoff_seconds=0.01)
        with (
            # Several calls, so that the submission takes some time.
            mock.patch.object(submission, "MAX_REQUESTS", 1),
            htcjobs.run(
                rescale,
                task,
                requests(name, kind, folder),
                group=name,
                policy=policy,
                cancel_seconds=20,
            ) as run,
        ):
            print("submitted", flush=True)
            counts = run.wait()
        print(counts)


if __name__ == "__main__":
    main()
