"""The usage of jobs in emulated time."""

import pytest

from rescalehtc import htcjobs, htcprojects, htctasks
from rescalehtc.emulator import Emulator

RATE = 3600
REQUEST = {
    "htcJobDefinition": {
        "imageName": "image",
        "commands": ["sleep", "0.2"],
        "priority": "ON_DEMAND_ECONOMY",
        "execTimeoutSeconds": 14 * 24 * 3600,
        "maxVCpus": 2,
        "maxMemory": 1024,
    },
}


def test_usage_times_the_clock_rate_is_that_of_the_emulated_hours():
    with Emulator(slots=1, clock_rate=RATE) as emulator, emulator.session() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        task = htctasks.create_task_with_name(rescale, project, "hours")
        batch = htcjobs.submit(rescale, task, [REQUEST])
        batch.wait(rescale)
        used = htcjobs.usage(rescale, batch).used
        (job,) = htcjobs.get_jobs(rescale, task)
        most = htcjobs.plan([REQUEST], project).most
    assert most is not None
    started, completed = job.record.started_at, job.record.completed_at
    assert started is not None
    assert completed is not None
    hours = (completed - started).total_seconds() * RATE / 3600
    # Timestamps are rounded to a quarter of a microsecond, and the job took 0.2 s or more.
    assert RATE * used.vcpu_hours == pytest.approx(2 * hours, rel=1e-4)
    assert RATE * used.gib_hours == pytest.approx(hours, rel=1e-4)
    assert hours > 0
    assert 2 * hours <= most.vcpu_hours
