"""Written from the documentation of htcjobs alone: every entry of it, as a user would use it.

It runs unchanged with 1.1.0 and with this package. The session, project and task that the
documentation takes for granted come first; the key is where `rauthenticate` keeps it.
"""

import os
import tempfile
import time

from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks

rescale = HtcSession()
print("workspace", rescale.get_bearer_token().payload["workspaceName"])
project = htcprojects.get_projects(rescale)[0]
task = htctasks.create_task_with_name(rescale, project, "documented")

batch = htcjobs.create_job_batch(
    rescale,
    task,
    batch_size=3,
    priority="ON_DEMAND_ECONOMY",
    image_name="my-image:latest",
    exec_timeout_seconds=300,
    job_name="documented",
    max_vcpus=1,
    max_memory_mib=128,
    max_swap_mib=0,
    max_disk_gib=1,
    job_tags={"HOME": "foo_bar"},
    batch_tags=[{"key": "HOME", "value": "/home/users/"}],
    commands=["sh", "-c", "echo hello $NAME; echo index $AWS_BATCH_JOB_ARRAY_INDEX"],
    envs=[{"name": "NAME", "value": "wörld"}],
    claims=[{"name": "case", "value": "seven"}],
    architecture="AARCH64",
    region=None,
)
print("batch of", batch.json["batchSize"], batch.json["htcJobDefinition"]["imageName"])
assert batch.json["parentJobId"]
jobs = batch.to_jobs()
print("partial", sorted(jobs[0].json))
assert [job.json["jobUUID"] for job in jobs] == [
    f"{batch.json['parentJobId']}:{n}" for n in range(3)
]

single = htcjobs.create_single_job(
    rescale, task, "ON_DEMAND_PRIORITY", "my-image", 60, commands=["sh", "-c", "exit 3"]
)
print("single", single.json["imageName"], single.json["maxVCpus"], single.json["maxMemory"])

definition = {
    "imageName": "my-image",
    "maxVCpus": 8,
    "maxMemory": 128,
    "commands": ["echo", "raw"],
    "envs": [{"name": "FOO", "value": "bar"}],
    "execTimeoutSeconds": 300,
    "architecture": "A100",
    "priority": "ON_DEMAND_ECONOMY",
}
payload = [{"jobName": "Sample job", "batchSize": 2, "htcJobDefinition": definition}]
raw = htcjobs.create_job_batch_raw(rescale, task, payload)
print("raw", raw.json["jobName"], len(raw.to_jobs()))

# Objects look at a status every 30 seconds at most, so not before the jobs have ended.
ids = (rescale, project.json["projectId"], task.json["taskId"])
while True:
    counts = api.get_htc_projects_tasks_summary_statistics(*ids)["jobStatuses"]
    if counts["SUCCEEDED"] + counts["FAILED"] == 6:
        break
    time.sleep(0.1)
while batch.is_still_running(rescale):
    time.sleep(1)
summary = raw.get_task_summary(rescale)
print("counts", summary["jobStatuses"]["SUCCEEDED"], summary["jobStatuses"]["FAILED"])
print("still running", summary["still_running"])

for job in jobs:
    assert not job.is_still_running(rescale)
    print(job.json["status"], list(job.get_logs(rescale)))
print("last line", list(raw.to_jobs()[0].get_logs(rescale, last_n_lines=1)))
print("updated", jobs[0].get_update(rescale) is jobs[0].json, jobs[0].json["container"]["exitCode"])
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "log.txt")
    jobs[1].get_logs_to_file(rescale, path)
    with open(path, encoding="utf-8") as file:
        print("file", file.read().split("\n"))

print("listed", len(htcjobs.get_jobs(rescale, task)))
print("succeeded", len(htcjobs.get_jobs(rescale, task, job_status="SUCCEEDED")))
found = htcjobs.get_job_with_id(rescale, task, single.json["jobUUID"])
print("found", found.json["status"], found.json["failureCode"], found.json["container"]["exitCode"])
print("not found", htcjobs.get_job_with_id(rescale, task, "no-such-job:0"))

htctasks.delete_task_with_id(rescale, project, task.json["taskId"])
print("tasks left", len(htctasks.get_tasks_with_name(rescale, project, "documented")))
