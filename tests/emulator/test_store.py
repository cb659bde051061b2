"""Persistent state with `data`."""

import sqlite3

import pytest

from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcFileError


def test_state_outlives_the_emulator(tmp_path, make_user, until):
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        key, token, project = emulator.api_key, user.token, user.project()
        task = user.new_task()
        (ended,) = user.submit(task, ["sh", "-c", "echo kept; echo; printf end"])
        user.wait(task, ended)
        (running,) = user.submit(task, ["sh", "-c", "echo on; sleep 600"])
        waiting = user.submit(task, ["true"], size=3)
        until(lambda: user.log(f"{task}/jobs/{running}"), "the job ran")
        record, events = user.job(task, ended), user.items(f"{task}/jobs/{ended}/events")
        emulator.set_image_status("a", "PENDING")

    with Emulator(data=tmp_path, slots=1) as emulator:
        assert emulator.api_key == key
        user = make_user(emulator.url, key)
        user.http.headers["Authorization"] = f"Bearer {token}"
        assert user.project() == project
        assert user.job(task, ended) == record
        assert user.items(f"{task}/jobs/{ended}/events") == events
        assert user.log(f"{task}/jobs/{ended}") == ["kept", "", "end"]
        interrupted = user.job(task, running)
        assert interrupted["failureCode"] == "ErrorInfrastructureFault"
        assert interrupted["status"] == "FAILED"
        assert "emulator stopped" in interrupted["statusReason"]
        assert user.log(f"{task}/jobs/{running}") == ["on"]
        for job_id in waiting:
            assert user.wait(task, job_id)["status"] == "SUCCEEDED"
        assert [job["jobUUID"] for job in user.items(f"{task}/jobs")] == [ended, running, *waiting]
        path = f"/htc/projects/{project['projectId']}/container-registry/images/a"
        assert user.get(path) == {"status": "PENDING"}


def test_without_data_nothing_is_kept():
    with Emulator(slots=1) as first, Emulator(slots=1) as second:
        assert first.api_key != second.api_key
        assert first.url != second.url


def test_one_emulator_at_a_time_uses_a_folder(tmp_path):
    with (
        Emulator(data=tmp_path / "a" / "b", slots=1),
        pytest.raises(HtcFileError, match="another emulator"),
    ):
        Emulator(data=tmp_path / "a" / "b").__enter__()
    with Emulator(data=str(tmp_path / "a" / "b"), slots=1):
        pass


def test_the_keys_are_readable_by_their_owner_only(tmp_path):
    with Emulator(data=tmp_path / "data", slots=1):
        modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.rglob("*sqlite3*")}
    assert set(modes.values()) == {0}
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_used_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HtcFileError, match="can't store data in"):
        Emulator(data=tmp_path / "file").__enter__()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.sqlite3").write_text("this is no database" * 100)
    with pytest.raises(HtcFileError, match="not a database"):
        Emulator(data=tmp_path / "broken").__enter__()


def test_a_submission_that_cannot_be_written_is_not_acknowledged(tmp_path, make_user, caplog):
    """A partial submission is discarded, and the emulator continues."""
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()
        request = {"batchSize": 5, "htcJobDefinition": {"imageName": "a", "commands": ["true"]}}
        with sqlite3.connect(tmp_path / "state.sqlite3") as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON jobs WHEN new.position = 3"
                " BEGIN SELECT raise(ABORT, 'full'); END"
            )
        other.close()
        answer = user.send_batch(task, {**request, "batchSize": 2}, request)
        assert answer.status_code == 500
        assert user.get(f"{task}/jobs") == {"items": []}
        (job_id,) = user.submit(task)
        assert user.wait(task, job_id)["status"] == "SUCCEEDED"
    assert "submitJobs failed" in caplog.text
    caplog.clear()


# Records of an emulator that sent null for every missing value.
OLDER_RECORDS = """
UPDATE projects SET record = json_set(record,
    '$.containerRegistry', 'registry.emulator.invalid/' || id,
    '$.projectFolderPath', 'projects/' || id);
UPDATE tasks SET record = json_set(record, '$.taskFolderPath', 'tasks/' || id);
UPDATE batches SET
    full_record = json_set(full_record, '$.maxMemory', NULL, '$.architecture', NULL),
    simple_record = json_set(simple_record, '$.maxMemory', NULL, '$.architecture', NULL);
UPDATE jobs SET
    container = json_set(container, '$.reason', NULL),
    environment = json_set(environment, '$.architecture', NULL),
    labels = json_set(labels, '$.priority', NULL, '$.instanceArchitecture', NULL);
UPDATE events SET labels = json_set(labels, '$.priority', NULL), container = NULL;
PRAGMA user_version = 0;
"""


def test_records_of_an_older_emulator_are_answered_in_the_new_form(tmp_path, make_user):
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()
        (ended,) = user.submit(task)
        user.wait(task, ended)
        emulator.set_workspace_limit(0)
        (waiting,) = user.submit(task)
        paths = [task, f"{task}/jobs?viewType=FULL", f"{task}/jobs?viewType=SIMPLE"]
        paths += [f"{task}/jobs/{ended}/events", f"{task}/jobs/{ended}", "/htc/projects"]
        expected = [user.get(path) for path in paths]
    older = sqlite3.connect(tmp_path / "state.sqlite3")
    older.executescript(OLDER_RECORDS)
    older.close()
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        found = [user.get(path) for path in paths]
        for event in expected[3]["items"]:
            event.pop("container", None)
        assert found == expected
        registry = user.project()["containerRegistry"]
        assert registry.endswith(f".amazonaws.com/rescale/{user.project()['projectId']}/")
        emulator.set_workspace_limit(None)
        assert user.wait(task, waiting)["status"] == "SUCCEEDED"


def test_what_an_older_emulator_kept_is_taken_over(tmp_path, make_user):
    """The layout without limits and groups."""
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        emulator.set_workspace_limit(0)
        emulator.set_image_status("a", "PENDING")
        task = user.new_task()
        (big,) = user.submit(task, maxVCpus=5, group="g")
        (small,) = user.submit(task, group="h")
    older = sqlite3.connect(tmp_path / "state.sqlite3")
    older.executescript(
        "DROP TABLE groups; DROP TABLE limits; DROP TABLE documents; DROP TABLE used_images;"
        "ALTER TABLE jobs DROP COLUMN vcpus; ALTER TABLE images DROP COLUMN ready_at;"
        "UPDATE images SET name = 'a'; DELETE FROM settings WHERE name = 'created_at';"
        "DROP INDEX jobs_waiting_of_project;"
        "CREATE INDEX jobs_waiting ON jobs (status) WHERE status = 'SUBMITTED_TO_RESCALE';"
    )
    older.close()
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        assert user.items(f"{task}/groups") == ["g", "h"]
        assert user.wait(task, big)["status"] == user.wait(task, small)["status"] == "SUCCEEDED"
        path = f"/htc/projects/{user.project()['projectId']}/container-registry/images/a"
        assert user.get(path) == {"status": "PENDING"}
    connection = sqlite3.connect(tmp_path / "state.sqlite3")
    assert connection.execute("SELECT vcpus FROM jobs ORDER BY number").fetchall() == [(5,), (1,)]
    connection.close()
