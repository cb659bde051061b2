"""Sweep two parameters, read each result when its job ends, and collect the results in a table.

Each point has its own submit request, with the point in environment variables. `submit` takes any
number of requests, and returns the jobs in the order of the requests.

    python -m rescalehtc.emulator -- python examples/parameter_sweep.py
"""

import csv
import itertools
import json
import sys

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks, models

ANGLES = (15, 30, 45, 60, 75)  # degrees
SPEEDS = (10, 20, 30)  # meters per second

# The program of a job computes how far a ball flies. Its last line is the result.
SIMULATE = """
import json, math, os
angle, speed = math.radians(float(os.environ["ANGLE"])), float(os.environ["SPEED"])
print("simulating ...")
print(json.dumps({"distance": round(speed**2 * math.sin(2 * angle) / 9.81, 2)}))
"""


def request(angle: int, speed: int) -> models.HTCJobSubmitRequest:
    """The submit request for one point."""
    return models.HTCJobSubmitRequest(
        job_name=f"angle {angle}, speed {speed}",
        batch_size=1,
        htc_job_definition=models.HTCJobDefinition(
            image_name="python:3",
            commands=["python3", "-c", SIMULATE],
            envs=[
                models.EnvPair(name="ANGLE", value=str(angle)),
                models.EnvPair(name="SPEED", value=str(speed)),
            ],
            max_vcpus=1,
            max_memory=500,  # MiB
            exec_timeout_seconds=300,
            architecture="AARCH64",
            priority="ON_DEMAND_ECONOMY",
        ),
    )


def main() -> int:
    points = list(itertools.product(ANGLES, SPEEDS))
    with HtcSession() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        task = htctasks.create_task_with_name(rescale, project, "sweep")
        batch = htcjobs.submit(rescale, task, [request(*point) for point in points])
        jobs = batch.to_jobs()
        point_of = {job.record.job_uuid: point for job, point in zip(jobs, points, strict=True)}

        distances: dict[tuple[int, int], float] = {}
        for job in htcjobs.as_completed(rescale, jobs):
            point = point_of[job.record.job_uuid]
            if job.record.status == "SUCCEEDED":
                *_, last = job.get_logs(rescale, last_n_lines=1)
                distances[point] = json.loads(last)["distance"]
            else:
                print(f"{point}: {job.record.status_reason}", file=sys.stderr)

    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["angle", "speed", "distance"])
    table.writerows([*point, distances.get(point)] for point in points)
    if distances:
        angle, speed = max(distances, key=lambda point: distances[point])
        print(f"farthest: {distances[angle, speed]} m at {angle} degrees, {speed} m/s")
    return 0 if len(distances) == len(points) else 1


if __name__ == "__main__":
    sys.exit(main())
