"""Give 20 jobs their inputs as files, take each one's results as it ends, and print one table.

The folder of inputs is uploaded before the jobs. Each job reads its own file, and writes its result
into the folder that is kept for it.

    python -m rescalehtc.emulator -- python examples/sweep_with_files.py

The jobs need nothing but a shell, so that any image will do. Name another one in IMAGE.
"""

import os
import sys
import tempfile
from pathlib import Path

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks

JOBS = 20

# What a job runs. The variables are set by the service, and RESCALEHTC_... by `submit`.
SOLVE = """
index=$AWS_BATCH_JOB_ARRAY_INDEX
read -r number < "$TASK_SHARED_FOLDER/$RESCALEHTC_INPUTS/case-$index.txt"
results="$TASK_SHARED_FOLDER/$RESCALEHTC_RESULTS/$index"
mkdir -p "$results"
echo "$((number * number))" > "$results/square.txt"
"""


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="sweep-"))
    inputs, results = folder / "inputs", folder / "results"
    inputs.mkdir()
    for index in range(JOBS):
        (inputs / f"case-{index}.txt").write_text(f"{3 * index}\n")
    request = {
        "jobName": "squares",
        "batchSize": JOBS,
        "htcJobDefinition": {
            "imageName": os.environ.get("IMAGE", "busybox:1"),
            "commands": ["sh", "-c", SOLVE],
            "architecture": os.environ.get("ARCHITECTURE", "AARCH64"),
            "priority": "ON_DEMAND_ECONOMY",
            "execTimeoutSeconds": 300,
            "maxVCpus": 1,
            "maxMemory": 100,
        },
    }
    with HtcSession() as rescale:
        if rescale.base_url.startswith("http://127.0.0.1:"):
            rescale.status_refresh_seconds = 0.2  # the emulator is quicker than the service
        project = htcprojects.get_projects(rescale)[0]
        task = htctasks.create_task_with_name(rescale, project, "sweep with files")
        batch = htcjobs.submit(rescale, task, [request], inputs=inputs)
        downloaded = batch.download_results(rescale, results, "{index}/*.txt")

    for job_id in downloaded.without_files:
        print(f"{job_id} left no result", file=sys.stderr)
    print("number  square")
    for index in range(JOBS):
        square = results / str(index) / "square.txt"
        if square.exists():
            print(f"{3 * index:6}  {square.read_text().strip():>6}")
    print(f"results are in {results}")
    return 1 if downloaded.without_files else 0


if __name__ == "__main__":
    sys.exit(main())
