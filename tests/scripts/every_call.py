"""Every public call of 1.1.0 that the service supports, in the style of scripts for 1.1.0.

It runs unchanged with 1.1.0 and with this package. It omits calls that fail in 1.1.0
(`get_htc_metrics`, `post_oauth_token`), presigned URLs, because 1.1.0 has no parameter for the path,
and `delete_image`, because there is no such operation.
"""

import os
import sys
import time

import rescalehtc
from rescalehtc import (
    HtcSession,
    api,
    bearer_token,
    container_registry,
    htcjobs,
    htcprojects,
    htctasks,
)
from rescalehtc.exceptions import HtcException

POLICY = {"archiveAfter": 0, "deleteAfter": 0}
DEFINITION = {"imageName": "tools/echo:1", "commands": ["sh", "-c", "echo one; echo two"]}


def wait(task_id):
    """Until no job of a task runs, without the interval that objects keep to."""
    while True:
        counts = api.get_htc_projects_tasks_summary_statistics(rescale, project_id, task_id)
        if sum(counts["jobStatuses"].values()) == sum(
            counts["jobStatuses"][status] for status in ("SUCCEEDED", "FAILED")
        ):
            return counts
        time.sleep(0.1)


# ---- the session and its token

key = os.environ["EXAMPLE_KEY"]
rescale = HtcSession(api_key=key)
rescale.do_authenticate()
rescale.reauthenticate_if_needed()
token = rescale.get_bearer_token()
print("token", token.payload["userEmail"], token.header["alg"], token.get_user_claims())
print("again", bearer_token.token_from_str(token.encoded_token).payload == token.payload)
for item in (rescalehtc.HtcSession, bearer_token.BearerToken):
    assert isinstance(item, type)
print("jwks", len(api.get_well_known_jwks(rescale)["keys"]))
print("auth", sorted(api.get_auth_token(rescale, "Token " + key)))
print("claims", api.get_auth_token_whoami(rescale)["workspaceName"])
print("whoami", api.get_auth_whoami(rescale, "Token " + key)["user"]["workspace"]["name"])
try:
    api.get_auth_whoami(rescale, "Token wrong")
except HtcException as error:
    print("refused", error.status_code)

# ---- the workspace

workspace_id = token.payload["workspaceId"]
print("regions", len(api.get_htc_regions(rescale)) > 20)
print("region", api.get_htc_regions(rescale, "AWS_EU_WEST_1")["enabled"])
print("clusters", len(api.get_htc_gcp_clusters(rescale, workspace_id)["clusters"]) > 0)
print("storages", len(api.get_htc_storage(rescale)) > 20)
print("storage", api.get_htc_storage_region(rescale, "AWS_EU_WEST_1")["provider"])
print(
    "dimensions", api.get_htc_workspaces_dimensions(rescale, workspace_id)[0]["derived"]["memory"]
)
print("limit", api.get_htc_workspaces_limits(rescale, workspace_id)["vCPUs"])
print("policy", api.put_htc_task_retention_policy(rescale, workspace_id, POLICY)["deleteAfter"])
print("policy", api.get_htc_task_retention_policy(rescale, workspace_id)["archiveAfter"])

# ---- a project

made = api.post_htc_projects(
    rescale,
    {"projectName": "every call", "projectDescription": "", "regions": ["AWS_EU_WEST_1"]},
)
project_id = made["projectId"]
project = htcprojects.get_project_with_id(rescale, project_id)
assert project.json == made
print("no project", htcprojects.get_project_with_id(rescale, "none"))
print("named", htcprojects.get_project_with_name(rescale, "every call").json == made)
print("not named", htcprojects.get_project_with_name(rescale, "no such project"))
print("listed", made in [item.json for item in htcprojects.get_projects(rescale)])
print("listed", made in api.get_htc_projects(rescale))
print("folder", made["projectFolderPath"] == f"projects/{project_id}/")

wanted = [{"machineType": "c7g.medium", "region": "AWS_EU_WEST_1"}]
print("dimensions", len(api.put_htc_projects_dimensions(rescale, project_id, wanted)))
print("dimensions", api.get_htc_projects_dimensions(rescale, project_id)[0]["machineType"])

limit = project.set_vcpu_limit(rescale, "PROJECT_ADMIN", 8)
print("limit", limit["vCPUs"], project.get_limits(rescale) == [limit])
print("limit", api.get_htc_projects_limits(rescale, project_id) == [limit])
print("limit", api.get_htc_projects_limits(rescale, project_id, limit["id"]) == limit)
changed = api.patch_htc_projects_limits(rescale, project_id, limit["id"], {"vCPUs": 9})
print("limit", changed["vCPUs"])
api.post_htc_projects_limits(rescale, project_id, {"vCPUs": 7, "modifierRole": "WORKSPACE_ADMIN"})
api.delete_htc_projects_limits(rescale, project_id, limit["id"])
print("limits", len(project.get_limits(rescale)))

print(
    "policy", api.put_htc_projects_task_retention_policy(rescale, project_id, POLICY)["deleteAfter"]
)
print("policy", api.get_htc_projects_task_retention_policy(rescale, project_id)["archiveAfter"])
api.delete_htc_projects_task_retention_policy(rescale, project_id)

storage = api.get_htc_projects_storage_token(rescale, project_id)
print("storage", storage["region"], "storagePath" in storage)
print(
    "storage", api.get_htc_projects_storage_token(rescale, project_id, "AWS_EU_WEST_1")["provider"]
)
print("storages", len(api.get_htc_projects_storage_tokens(rescale, project_id)["regionStores"]))

# ---- its container registry

registry = container_registry.get_container_registry(rescale, project)
assert isinstance(registry, container_registry.HtcContainerRegistry)
assert registry.project is project
print("registry", registry.login_method, registry.username)
host, path, name, rest = (registry.registry_url + "solver:1").split("/")
print("registry", host.endswith(".amazonaws.com"), path, name == project_id, rest)
print("repo", registry.create_repo(rescale, "tools/echo")["successfullyCreated"])
repository = api.post_htc_projects_container_registry_repo(rescale, project_id, "tools/echo")
print("repo", repository["successfullyCreated"], repository["registryURI"] == registry.registry_url)
print("repos", registry.get_repos(rescale))
print("images", registry.get_images(rescale))
images = api.get_htc_projects_container_registry_images(rescale, project_id)
print("images", images["containerRegistry"] == registry.registry_url, images["images"])
print("image", registry.get_image(rescale, "tools/echo:1"))
print("ready", registry.is_image_ready(rescale, "tools/echo:1"))
print("password", len(registry.get_token(rescale)) > 40)
print("password", len(api.get_htc_projects_container_registry_token(rescale, project_id)) > 40)
sys.stdout.flush()
print("pushed", registry.push_docker_image(rescale, "local:2", quiet=True))
print("pushed", registry.push_docker_image(rescale, "local:2", "solver:2", True))
print("repos", registry.get_repos(rescale))

# ---- tasks

task = htctasks.create_task_with_name(rescale, project, "mine", "a task")
task_id = task.json["taskId"]
print("task", htctasks.get_task_with_id(rescale, project, task_id).json == task.json)
print("no task", htctasks.get_task_with_id(rescale, project, "none"))
print("folder", task.json["taskFolderPath"] == f"projects/{project_id}/tasks/{task_id}")
other = api.post_htc_projects_tasks(rescale, project_id, {"taskName": "b", "taskDescription": ""})
archived = {"lifecycleStatus": "ARCHIVED"}
print(
    "archived",
    api.patch_htc_projects_tasks(rescale, project_id, other["taskId"], archived)["lifecycleStatus"],
)
print("active", len(htctasks.get_tasks(rescale, project)))
print("any", len(htctasks.get_tasks(rescale, project, "any")))
print("named", len(htctasks.get_tasks_with_name(rescale, project, "b", "ARCHIVED")))
print("tasks", len(api.get_htc_projects_tasks(rescale, project_id)))
print("task", api.get_htc_projects_tasks(rescale, project_id, task_id)["deletedAt"])
for region in (None, "AWS_EU_WEST_1"):
    storage = api.get_htc_projects_tasks_storage_token(rescale, project_id, task_id, region)
    print("storage", task_id in storage["storagePath"], sorted(storage["credentials"]))
tokens = api.get_htc_projects_tasks_storage_tokens(rescale, project_id, task_id)
print("storages", tokens["defaultRegion"])
stores = api.get_htc_projects_tasks_storage_regional_storage(rescale, project_id, task_id)
print("stores", len(stores["regionalStores"]))

# ---- jobs

payload = [{"jobName": "raw", "batchSize": 2, "htcJobDefinition": DEFINITION}]
batch = htcjobs.create_job_batch_raw(rescale, task, payload)
(answer,) = api.post_htc_projects_tasks_jobs_batch(rescale, project_id, task_id, payload)
print("batch", answer["batchSize"], answer["htcJobDefinition"]["imageName"])
single = htcjobs.create_single_job(
    rescale, task, "ON_DEMAND_ECONOMY", "tools/echo:1", 60, commands=["false"]
)
print("single", single.json["status"] in ("SUBMITTED_TO_RESCALE", "STARTING", "RUNNING", "FAILED"))
counts = wait(task_id)
print(
    "counts", counts["group"], counts["jobStatuses"]["SUCCEEDED"], counts["jobStatuses"]["FAILED"]
)
print("task", task.is_still_running(rescale), task.get_task_summary(rescale)["still_running"])
print("batch", batch.is_still_running(rescale))
groups = api.get_htc_projects_tasks_groups(rescale, project_id, task_id)
print("groups", len(groups), batch.json["group"] in groups)
summaries = api.get_htc_projects_tasks_group_summary_statistics(rescale, project_id, task_id)
print("groups", sorted(item["jobStatuses"]["SUCCEEDED"] for item in summaries))
jobs = api.get_htc_projects_tasks_jobs(rescale, project_id, task_id)
print("jobs", len(jobs), jobs[0]["failureCode"], jobs[0]["container"]["exitCode"])
job_id = batch.to_jobs()[0].json["jobUUID"]
print("job", api.get_htc_projects_tasks_jobs(rescale, project_id, task_id, job_id) == jobs[0])
lines = api.get_htc_projects_tasks_jobs_logs(rescale, project_id, task_id, job_id)
print("logs", [line["message"] for line in lines])
events = api.get_htc_projects_tasks_jobs_events(rescale, project_id, task_id, job_id)
print("events", events[-1]["status"], events[-1]["statusReason"])
print("succeeded", len(htcjobs.get_jobs(rescale, task, "SUCCEEDED")))
print("images", registry.get_images(rescale))

# ---- the end

api.post_htc_projects_tasks_jobs_batch(
    rescale,
    project_id,
    task_id,
    [{"htcJobDefinition": dict(DEFINITION, commands=["sleep", "600"])}],
)
task.cancel_jobs_in_task(rescale)
api.post_htc_projects_tasks_jobs_cancel(rescale, project_id, task_id)
print("cancelled", wait(task_id)["jobStatuses"]["FAILED"])
print("deleted", len(htctasks.delete_tasks_with_name(rescale, project, "mine")))
print("deleted", htctasks.delete_task_with_id(rescale, project, "none"))
extra = htctasks.create_task_with_name(rescale, project, "extra")
extra.delete_task(rescale)
last = htctasks.create_task_with_name(rescale, project, "last")
print(
    "deleted",
    api.delete_htc_projects_tasks(rescale, project_id, last.json["taskId"])["lifecycleStatus"],
)
print("left", [item.json["taskName"] for item in htctasks.get_tasks(rescale, project)])
