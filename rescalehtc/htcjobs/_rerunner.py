"""Wait for a batch with a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._jobs.policy import RetryPolicy
from .._jobs.rerunning import Rerunner, RunPlace
from .._jobs.submission import SubmissionSettings
from .._objects.json_object import id_of, require_instance
from ..exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._jobs.waiting import Interval
    from .._session import BaseSession
    from ..htctasks import HtcTask


def rerunner_of(
    rescale: BaseSession,
    task: HtcTask,
    parts: Sequence[Mapping[str, Any]],
    policy: RetryPolicy,
    interval: Interval,
    may_have_reruns: bool,
) -> Rerunner:
    """Make a Rerunner for a batch.

    Raises:
        HtcValidationError: `policy` is not a RetryPolicy, or the jobs are not in one group.
    """
    require_instance(policy, RetryPolicy, "policy", "wait")
    groups = {part.get("group") for part in parts}
    group = groups.pop() if len(groups) == 1 else None
    if not isinstance(group, str) or not group:
        message = "can't be used: the jobs of the batch are not in one group; submit with group="
        raise HtcValidationError("wait", [Problem("policy", message)])
    ids = {name: id_of(task, name) for name in ("projectId", "taskId")}
    place = RunPlace(ids, group, task.project.json)
    settings = SubmissionSettings.of(rescale)
    return Rerunner(rescale.client, settings, place, parts, policy, interval, may_have_reruns)
