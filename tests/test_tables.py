"""HTML tables with escaped values, and typed DataFrames."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks, models, records
from rescalehtc.exceptions import HtcException, HtcResponseError, HtcValidationError

from .limits import EXEC_SECONDS
from .service import Answer, Service

IDS = {"projectId": "p", "taskId": "t"}
TASK = htctasks.HtcTask(IDS, htcprojects.HtcProject({"projectId": "p"}))
SECRET = "hunter2"
FULL = {
    **IDS,
    "jobUUID": "a:7",
    "status": "FAILED",
    "failureCode": "ErrorTimeout",
    "container": {"exitCode": 143, "reason": None},
    "createdAt": "2026-01-01T00:00:00Z",
    "completedAt": "2026-01-01T01:00:00.5+00:00",
    "maxVCpus": 4,
    "envs": [{"name": "PASSWORD", "value": SECRET}],
    "commands": ["solve", SECRET],
    "tags": [{"key": "k", "value": SECRET}],
}


def html(shown: Any) -> str:
    text: str = shown._repr_html_()
    return text


class Cells(HTMLParser):
    """The texts of a table, and only a table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert tag in ("table", "caption", "tr", "th", "td")
        assert not attrs
        self.open.append(tag)
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


def test_a_job_is_shown_without_secrets() -> None:
    shown = html(htcjobs.HtcJob(FULL, TASK))
    assert {"Job a:7", "FAILED", "ErrorTimeout", "143"} <= {*Cells(shown).texts}
    assert SECRET not in shown


def test_a_batch_is_shown_with_its_parts_without_secrets() -> None:
    definition = {"imageName": "image", "envs": FULL["envs"], "commands": FULL["commands"]}
    part = {**IDS, "batchSize": 1000, "jobName": "sweep", "htcJobDefinition": definition}
    parts = [{**part, "parentJobId": f"parent-{number}"} for number in range(30)]
    shown = html(htcjobs.HtcJobBatch(parts, TASK))
    assert {"parent-0", "parent-19", "1000", "image", "sweep"} <= {*Cells(shown).texts}
    assert "the first 20 of 30" in Cells(shown).texts[1]
    assert "parent-20" not in shown
    assert SECRET not in shown
    assert "parent-3" in html(htcjobs.HtcJobBatch(parts[3], TASK))


def test_counts_are_shown() -> None:
    counts = htcjobs.JobCounts({"RUNNING": 2, "FAILED": 1, "STARTING": 0}, running=5, unseen=3)
    texts = Cells(html(counts)).texts
    assert texts[1] == "1 of 6 jobs ended"
    assert [text for text in texts[2:] if text] == [
        *("status", "jobs", "FAILED", "1", "RUNNING", "2", "not seen", "3")
    ]


@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
@pytest.mark.parametrize("field", ["jobUUID", "status", "statusReason", "group"])
def test_no_text_of_the_service_becomes_markup(field: str, text: str) -> None:
    for attack in (text, f"<script>{text}</script>", f'"><img src=x onerror="{text}">'):
        texts = Cells(html(htcjobs.HtcJob({**FULL, field: attack}, TASK))).texts
        assert attack in texts or f"Job {attack}" in texts


def test_what_was_not_fetched_is_not_shown() -> None:
    assert "FAILED" not in html(htcjobs.HtcJob({"jobUUID": "a:0", **IDS}, TASK))
    assert "None" not in html(htcjobs.HtcJobBatch({"parentJobId": "a"}, TASK))


def test_projects_and_tasks_are_shown() -> None:
    project = {"projectId": "p-1", "projectName": "wings", "regions": ["AWS_US_EAST_1"]}
    assert {"Project", "wings", "p-1", "AWS_US_EAST_1"} <= {
        *Cells(html(htcprojects.HtcProject(project))).texts
    }
    shown = html(htctasks.HtcTask({**IDS, "taskName": "study"}, TASK.project))
    assert {"Task", "study", "t"} <= {*Cells(shown).texts}


def test_lists_are_shown_with_a_row_for_each_of_the_first_objects(service: Service) -> None:
    projects = [{"projectId": f"p-{n}", "projectName": f"name-{n}"} for n in range(25)]
    service.on("GET /htc/projects", Answer({"items": projects}))
    with HtcSession(api_key="key", base_url=service.url) as rescale:
        listed = htcprojects.get_projects(rescale)
    assert [project.json for project in listed] == projects
    texts = Cells(html(listed)).texts
    assert texts[1] == "Projects, the first 20 of 25"
    assert "name-19" in texts
    assert "name-20" not in texts


def test_an_empty_list_is_shown(service: Service) -> None:
    service.on("GET /htc/projects", Answer({"items": []}))
    with HtcSession(api_key="key", base_url=service.url) as rescale:
        assert Cells(html(htcprojects.get_projects(rescale))).texts == ["", "Empty list"]


def test_records_are_shown_without_what_may_hold_secrets() -> None:
    job = htcjobs.HtcJob(FULL, TASK)
    assert {"HTCJob", "FAILED", "a:7"} <= {*Cells(html(job.record)).texts}
    assert SECRET not in html(job.record)
    assert SECRET not in html(models.EnvPair(name="PASSWORD", value=SECRET))
    limit = records.HTCProjectLimitRecord({"vCPUs": 64, "id": 1, "other": {"secret": SECRET}})
    assert {"HTCProjectLimit", "vCPUs", "64"} <= {*Cells(html(limit)).texts}
    assert SECRET not in html(limit)


def test_failures_are_shown_with_their_last_lines(
    rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    rescale.status_refresh_seconds = 0.05
    script = "echo '<b>first</b>'; echo second; exit 3"
    batch = htcjobs.create_job_batch(
        *(rescale, task, 1, "ON_DEMAND_ECONOMY", "image", EXEC_SECONDS),
        commands=["sh", "-c", script],
    )
    batch.wait(rescale)
    shown = html(batch.failed(rescale, last_n_lines=2))
    assert "<pre>&lt;b&gt;first&lt;/b&gt;\nsecond</pre>" in shown
    assert "ErrorNonZeroContainerExitCode" in shown


# ---- data frames


def test_a_data_frame_has_a_row_a_job_and_columns_with_types() -> None:
    partial = {**IDS, "jobUUID": "a:8"}
    frame = htcjobs.to_dataframe([htcjobs.HtcJob(FULL, TASK), htcjobs.HtcJob(partial, TASK)])
    assert len(frame) == 2
    row = frame.iloc[0]
    assert (row["job_uuid"], row["index"], row["exit_code"]) == ("a:7", 7, 143)
    assert row["created_at"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert row["completed_at"] - row["created_at"] == timedelta(hours=1, seconds=0.5)
    assert frame.iloc[1][["status", "exit_code", "created_at"]].isna().all()
    assert SECRET not in frame.to_csv()


def test_types_do_not_depend_on_the_jobs() -> None:
    """Even without jobs, or if no record was fetched."""
    frames = [
        htcjobs.to_dataframe([htcjobs.HtcJob(json, TASK) for json in jsons])
        for jsons in ([], [{"jobUUID": "odd"}], [FULL])
    ]
    assert frames[0].dtypes.to_dict() == frames[1].dtypes.to_dict() == frames[2].dtypes.to_dict()
    kinds = frames[0].dtypes
    assert (kinds["status"], kinds["max_vcpus"]) == ("string", "Int64")
    assert str(kinds["started_at"]) == "datetime64[us, UTC]"
    assert str(kinds["duration"]) == "timedelta64[us]"


def test_the_duration_is_from_the_start_to_the_end_and_missing_without_one_of_them() -> None:
    times = {"startedAt": "2026-01-01T00:30:00Z", "completedAt": "2026-01-01T01:00:00.5Z"}
    jobs = [htcjobs.HtcJob({**IDS, "jobUUID": "a:0", **given}, TASK) for given in (times, {})]
    frame = htcjobs.to_dataframe(jobs)
    assert frame["duration"][0] == timedelta(minutes=30, seconds=0.5)
    assert frame["duration"].isna()[1]


def test_the_columns_are_the_documented_ones() -> None:
    described = " ".join((htcjobs.to_dataframe.__doc__ or "").split())
    assert ", ".join(htcjobs.to_dataframe([]).columns[:12]) in described
    for column in htcjobs.to_dataframe([]).columns:
        assert column in described


def test_jobs_of_the_emulator_make_a_data_frame(
    rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    rescale.status_refresh_seconds = 0.05
    script = "exit $AWS_BATCH_JOB_ARRAY_INDEX"
    batch = htcjobs.create_job_batch(
        *(rescale, task, 3, "ON_DEMAND_ECONOMY", "image", EXEC_SECONDS),
        commands=["sh", "-c", script],
    )
    batch.wait(rescale)
    frame = htcjobs.to_dataframe(htcjobs.get_jobs(rescale, task))
    assert frame["exit_code"].tolist() == [0, 1, 2]
    assert (frame["completed_at"] >= frame["started_at"]).all()
    assert frame["status"].value_counts().to_dict() == {"FAILED": 2, "SUCCEEDED": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [("maxVCpus", "4"), ("maxVCpus", True), ("status", 5), ("createdAt", "yesterday")],
)
def test_a_value_that_does_not_fit_is_named(field: str, value: object) -> None:
    with pytest.raises(HtcResponseError, match=field):
        htcjobs.to_dataframe([htcjobs.HtcJob({**FULL, field: value}, TASK)])


def test_an_invalid_job_is_rejected() -> None:
    with pytest.raises(HtcValidationError, match="must be of type HtcJob, got dict"):
        htcjobs.to_dataframe([FULL])  # type: ignore[list-item]


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(HtcException, match=r'pip install "rescalehtc\[pandas\]>=2"'):
        htcjobs.to_dataframe([])


def test_pandas_is_loaded_only_for_a_data_frame() -> None:
    program = "import sys; from rescalehtc import htcjobs; sys.exit('pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
