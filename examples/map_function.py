"""Call a function with 12 inputs, in one job each, and print the best result.

Start it again with the same GROUP, and it continues where it stopped: inputs that have a job are not
submitted again.

    python -m rescalehtc.emulator -- python examples/map_function.py

The function runs in the jobs. The image needs the Python version that you use. Name one in IMAGE.
"""

import math
import os
import sys

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks


def fly(point):
    """Return the distance that a ball flies, in meters."""
    angle = math.radians(point["angle"])
    return {"distance": round(point["speed"] ** 2 * math.sin(2 * angle) / 9.81, 2)}


def main() -> int:
    points = [
        {"angle": angle, "speed": speed} for angle in (15, 30, 45, 60) for speed in (10, 20, 30)
    ]
    with HtcSession() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        found = htctasks.get_tasks_with_name(rescale, project, "map")
        task = found[0] if found else htctasks.create_task_with_name(rescale, project, "map")
        results = htcjobs.map(
            rescale,
            task,
            fly,
            points,
            image=os.environ.get("IMAGE", "python:3"),
            exec_timeout_seconds=300,
            group=os.environ.get("GROUP"),
            # Jobs that lose their machine are submitted again, up to 3 times in all.
            policy=htcjobs.RetryPolicy(),
        )
        distances = {}
        for result in results:
            if result.error:
                print(result.error, file=sys.stderr)
            else:
                distances[result.index] = result.value["distance"]

    if distances:
        best = max(distances, key=lambda index: distances[index])
        print(f"farthest: {distances[best]} m with {points[best]}")
    return 0 if len(distances) == len(points) else 1


if __name__ == "__main__":
    sys.exit(main())
