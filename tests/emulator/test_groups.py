"""The groups of a task, and the counts of their jobs."""

import httpx
import pytest

from rescalehtc import models


def test_groups_are_listed_once_in_the_order_they_came_up(user):
    task = user.new_task()
    assert user.get(f"{task}/groups") == {"items": []}
    names = ["b", "ä/😀\x00", 'a"b', "c", "d"]
    for name in [*names, *names[::-1]]:
        user.submit(task, group=name)
    assert user.get(f"{task}/groups") == {"items": names}
    pages = list(user.pages(f"{task}/groups", pageSize=2))
    assert pages == [names[:2], names[2:4], names[4:]]
    other = user.new_task()
    assert user.get(f"{other}/groups") == {"items": []}
    unnamed = user.send_batch(other, {"htcJobDefinition": {"imageName": "a"}}).json()[0]["group"]
    assert user.items(f"{other}/groups") == [unnamed]


def test_each_group_is_counted_by_status(user):
    task = user.new_task()
    user.submit(task, ["true"], group="good", size=3)
    user.submit(task, ["false"], group="bad", size=2)
    user.submit(task, ["true"], group="bad")
    user.submit(task, ["true"], group="a b&c")
    user.wait_for_all(task)

    def counts(**query):
        found = {}
        for item in user.items(f"{task}/group-summary-statistics", **query):
            statuses = models.JobStatusSummary.model_validate(item).job_statuses
            assert len(item["jobStatuses"]) == 7
            found[item["group"]] = (statuses.succeeded, statuses.failed)
        return found

    every = {"good": (3, 0), "bad": (1, 2), "a b&c": (1, 0)}
    assert counts() == counts(pageSize=1) == counts(pageSize=2) == every
    assert counts(group="bad") == {"bad": (1, 2)}
    assert counts(group=["a b&c", "good", "none"], pageSize=1) == {"good": (3, 0), "a b&c": (1, 0)}
    assert counts(group="none") == {}
    url = user.get(f"{task}/group-summary-statistics?group=a+b%26c&group=good&pageSize=1")["next"]
    assert httpx.URL(url).params.get_list("group") == ["a b&c", "good"]


@pytest.mark.parametrize("query", ["pageSize=0", "pageIndex=x"])
def test_a_query_out_of_bounds_is_400(user, query):
    assert user.http.get(f"{user.new_task()}/group-summary-statistics?{query}").status_code == 400
    assert user.http.get(f"{user.new_task()}/groups?{query}").status_code == 400
