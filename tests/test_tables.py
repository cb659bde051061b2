"""Tables for people: HTML that can't be broken, and data frames with types."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc.exceptions import HtcException, HtcResponseError, HtcValidationError

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
    """The texts of a table, where nothing but a table is."""

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
    """Also where there is no job at all, or nothing was fetched."""
    frames = [
        htcjobs.to_dataframe([htcjobs.HtcJob(json, TASK) for json in jsons])
        for jsons in ([], [{"jobUUID": "odd"}], [FULL])
    ]
    assert frames[0].dtypes.to_dict() == frames[1].dtypes.to_dict() == frames[2].dtypes.to_dict()
    kinds = frames[0].dtypes
    assert (kinds["status"], kinds["max_vcpus"]) == ("string", "Int64")
    assert str(kinds["started_at"]) == "datetime64[us, UTC]"


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
        *(rescale, task, 3, "ON_DEMAND_ECONOMY", "image", 60), commands=["sh", "-c", script]
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


def test_what_is_no_job_is_refused() -> None:
    with pytest.raises(HtcValidationError, match="must be of type HtcJob, got dict"):
        htcjobs.to_dataframe([FULL])  # type: ignore[list-item]


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(HtcException, match=r'pip install "rescalehtc\[pandas\]"'):
        htcjobs.to_dataframe([])


def test_pandas_is_loaded_only_for_a_data_frame() -> None:
    program = "import sys; from rescalehtc import htcjobs; sys.exit('pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
