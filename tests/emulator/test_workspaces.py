"""Regions, computing environments, and changes of a project."""

import pytest

from rescalehtc import models


def new_project(user, **body):
    body = {"projectName": "p", "projectDescription": "d", **body}
    return user.http.post("/htc/projects", json=body)


# ---- regions


def test_regions_are_listed_by_cloud_and_by_whether_they_are_enabled(user):
    every = user.get("/htc/regions")
    assert [item["region"] for item in every] == list(models.RescaleRegion)
    for item in every:
        record = models.HTCRegionAdminSettings.model_validate(item)
        assert record.cloud_provider == item["region"].partition("_")[0]
        assert record.supported_architectures
        assert record.updated_at is not None
        assert user.get(f"/htc/regions/{item['region']}") == item
    disabled = user.get("/htc/regions", enabled="false")
    assert [item["region"] for item in disabled] == ["UNASSIGNED"]
    assert len(user.get("/htc/regions", enabled="true")) == len(every) - 1
    azure = user.get("/htc/regions", cloudProvider="AZURE", enabled="true")
    assert {item["cloudProvider"] for item in azure} == {"AZURE"}


@pytest.mark.parametrize("query", ["cloudProvider=DEC", "enabled=1", "enabled=True"])
def test_a_filter_of_regions_out_of_bounds_is_400(user, query):
    assert user.http.get(f"/htc/regions?{query}").status_code == 400


def test_every_enabled_region_has_a_storage(user):
    storages = user.get("/htc/storage")
    enabled = [item["region"] for item in user.get("/htc/regions", enabled="true")]
    assert [storage["region"] for storage in storages] == enabled
    assert len({storage["storageName"] for storage in storages}) == len(storages)
    for storage in storages:
        models.RegionStorageOption.model_validate(storage)
        assert user.get(f"/htc/storage/region/{storage['region']}") == storage


@pytest.mark.parametrize("region", ["AWS_MOON_1", "aws_us_east_1", "x%00", "%F0%9F%98%80"])
def test_an_unknown_region_is_404(user, region):
    assert user.http.get(f"/htc/regions/{region}").status_code == 404
    assert user.http.get(f"/htc/storage/region/{region}").status_code == 404
    assert user.http.get("/htc/storage/region/UNASSIGNED").status_code == 404


# ---- the workspace


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/htc/gcp/clusters/{}"),
        ("GET", "/htc/workspaces/{}/dimensions"),
        ("GET", "/htc/workspaces/{}/limits"),
        ("GET", "/htc/workspaces/{}/task-retention-policy"),
        ("PUT", "/htc/workspaces/{}/task-retention-policy"),
    ],
)
def test_another_workspace_is_404(user, method, path):
    body = {"archiveAfter": 0, "deleteAfter": 0}
    answer = user.http.request(method, path.format("04-none"), json=body)
    assert answer.status_code == 404
    assert answer.json()["errorType"]


def test_the_workspace_has_clusters_and_environments(user):
    workspace_id = user.project()["workspaceId"]
    clusters = user.get(f"/htc/gcp/clusters/{workspace_id}")
    found = models.HTCClusterStatusResponse.model_validate(clusters).clusters
    assert found
    assert all(cluster.region and cluster.region.startswith("GCP_") for cluster in found)
    environments = user.get(f"/htc/workspaces/{workspace_id}/dimensions")
    assert environments
    for item in environments:
        record = models.HTCComputeEnvironment.model_validate(item)
        assert record.derived is not None
        assert record.derived.vcpus
        assert record.region


# ---- projects


def test_a_projects_environments_are_replaced_and_say_what_the_machine_has(user):
    path = f"{user.new_project()}/dimensions"
    assert user.get(path) == []
    environments = [
        {"machineType": "c7g.medium", "priority": "ON_DEMAND_ECONOMY", "region": "AWS_EU_WEST_1"},
        {"machineType": "abacus", "hyperthreading": True, "computeScalingPolicy": "BALANCED"},
        {},
    ]
    answer = user.http.put(path, json=environments)
    assert answer.status_code == 201
    assert user.get(path) == answer.json()
    known, unknown, empty = answer.json()
    assert known["derived"] == {
        "architecture": "AARCH64",
        "vCPUs": 1,
        "memory": 2,
        "swap": False,
    }
    assert unknown == environments[1]
    assert empty == {}
    assert environments[0].items() <= known.items()
    for item in answer.json():
        models.HTCComputeEnvironment.model_validate(item)
    assert user.http.put(path, json=[]).json() == []
    assert user.get(path) == []


@pytest.mark.parametrize(
    "body", [{}, [{"region": "AWS_MOON_1"}], [{"priority": "NONE"}], [1], [{"machineType": 1}]]
)
def test_environments_out_of_bounds_are_400(user, body):
    path = f"{user.new_project()}/dimensions"
    assert user.http.put(path, json=body).status_code == 400
    assert user.get(path) == []


def test_a_projects_regions_are_changed_and_kept_ones_keep_their_storage(user):
    setting = {
        "computeSettings": {"computeRegion": "AZURE_EU_NORTH"},
        "storageSettings": {"storageRegion": "AWS_EU_NORTH_1"},
    }
    project = new_project(user, regionSettings=[setting]).json()
    path = f"/htc/projects/{project['projectId']}"
    regions = ["AWS_EU_WEST_1", "AZURE_EU_NORTH"]
    answer = user.http.patch(path, json={"regions": regions})
    assert answer.status_code == 200
    assert answer.json() == {
        **project,
        "regions": regions,
        "regionSettings": [
            {
                "computeSettings": {"computeRegion": "AWS_EU_WEST_1"},
                "storageSettings": {"storageRegion": "AWS_EU_WEST_1"},
            },
            setting,
        ],
    }
    assert user.get(path) == answer.json()
    assert user.http.patch(path, json={}).json() == answer.json()
    assert user.http.patch(path, json={"regions": None}).json() == answer.json()
    for wrong in ([], ["AWS_MOON_1"], ["UNASSIGNED"], ["AWS_EU_WEST_1"] * 2, "AWS_EU_WEST_1"):
        assert user.http.patch(path, json={"regions": wrong}).status_code == 400
    assert user.get(path) == answer.json()
    task = user.new_task(project["projectId"])
    user.submit(task, size=2)
    assert [job["region"] for job in user.items(f"{task}/jobs")] == regions


@pytest.mark.parametrize("place", ["computeSettings", "storageSettings"])
def test_regions_that_are_not_there_are_rejected_in_settings_too(user, place):
    setting = {"computeSettings": {}, "storageSettings": {}}
    setting[place] = {f"{place.removesuffix('Settings')}Region": "AWS_MOON_1"}
    assert new_project(user, regionSettings=[setting]).status_code == 400


def test_the_metrics_are_whole_with_awkward_names(user):
    name = 'a"b\\c\nd\u2028ä'
    project = new_project(user, projectName=name).json()
    text = user.http.get("/htc/metrics").text
    (line,) = [
        line
        for line in text.split("\n")
        if f'project_id="{project["projectId"]}"' in line and 'status="FAILED"' in line
    ]
    assert 'project="a\\"b\\\\c\\nd\u2028ä"' in line
    assert all(line.startswith(("#", "htc_")) for line in text.removesuffix("\n").split("\n"))
