"""Mistakes that pyright and mypy find while one writes. Checked by tests/tools, not run.

The line before each one names the rules that it breaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescalehtc import HtcSession, htcjobs, htctasks, models

if TYPE_CHECKING:
    from rescalehtc.emulator import Emulator


def keywords(rescale: HtcSession, task: htctasks.HtcTask, batch: htcjobs.HtcJobBatch) -> None:
    # by pyright reportCallIssue, by mypy call-arg
    batch.wait(rescale, timout=60)
    # by pyright reportCallIssue reportCallIssue, by mypy call-arg
    models.EnvPair(name="CASE", vaule="7")
    # by pyright reportCallIssue, by mypy call-arg
    HtcSession(api_kye="key")
    # by pyright reportCallIssue, by mypy call-arg
    htcjobs.create_job_batch(rescale, task, 5)


def values(rescale: HtcSession, task: htctasks.HtcTask, emulator: Emulator) -> None:
    # by pyright reportAttributeAccessIssue, by mypy attr-defined
    print(models.Architecture.X87)
    # by pyright reportArgumentType, by mypy arg-type
    emulator.fault("submitJobs", "reset_aftr")
    # by pyright reportCallIssue, by mypy call-arg
    emulator.fault("submitJobs", "delay", tims=1)
    # by pyright reportArgumentType, by mypy arg-type
    emulator.set_image_status("solver", "REDY")
    # by pyright reportArgumentType, by mypy arg-type
    models.EnvPair(name="CASE", value=7)
    # by pyright reportArgumentType, by mypy arg-type
    htcjobs.create_job_batch(rescale, task, "5", "ON_DEMAND_ECONOMY", "solver", 60)
    # by pyright reportArgumentType, by mypy arg-type
    htcjobs.create_single_job(rescale, task, 1, "solver", 60)


def records(job: htcjobs.HtcJob) -> None:
    # by pyright reportAttributeAccessIssue, by mypy attr-defined
    print(job.record.max_vcpu)
    # by pyright reportOptionalMemberAccess, by mypy union-attr
    print(job.record.started_at.year)
    # by pyright reportAttributeAccessIssue reportAttributeAccessIssue reportOptionalMemberAccess, by mypy union-attr union-attr
    print(job.record.status.lowr())
