"""Replays that run by themselves, as people start, watch and stop them: in the admin, by API, on the command line."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.test import Client

from relay_admin.deliveries.models import Delivery, ReplayBatch
from relay_admin.deliveries.replay_purses import ReplaySteps
from relay_contract.credits import MICRO
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState
from tests.admin import rows
from tests.admin.test_pages import text_of

JSON = "application/json"
ALL = "/admin/deliveries/deaddelivery/replay-all/"
API = "/api/v1/replays"


@pytest.fixture
def dead(catalog: rows.Catalog) -> list[Delivery]:
    """Three, one of them for another reason."""
    reasons = ("attempts_exhausted", "attempts_exhausted", "target_gone")
    return [
        rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD, dead_reason=reason)
        for reason in reasons
    ]


def states() -> list[str]:
    return sorted(Delivery.objects.values_list("state", flat=True))


def test_all_that_match_are_shown_first_and_then_replayed(client_of, dead: list[Delivery], settings: Any) -> None:
    settings.REPLAY_CHARGE = "full"
    client: Client = client_of("support")
    queue = client.get("/admin/deliveries/deaddelivery/?reason=attempts_exhausted").content.decode()
    assert f"{ALL}?reason=attempts_exhausted" in queue
    asked = text_of(client.get(f"{ALL}?reason=attempts_exhausted").content)
    assert "Made due 2 Credits held 2" in asked
    assert "Attempts exhausted 2" in asked
    form = {"confirmed": "yes", "pace": "50", "note": "billing is back"}
    done = client.post(f"{ALL}?reason=attempts_exhausted", form, follow=True)
    batch = ReplayBatch.objects.get()
    assert done.redirect_chain == [(f"/admin/deliveries/replaybatch/{batch.pk}/change/", 302)]
    assert done["Refresh"] == "2"
    page = text_of(done.content)
    for word in ("running 0 of 2", "50 a second", "Pause", "Cancel", "billing is back", "reason: attempts_exhausted"):
        assert word in page, word
    assert states() == ["dead"] * 3  # the workers' to do

    assert ReplaySteps().step(batch.pk) == 2
    assert states() == ["dead", "pending", "pending"]
    after = client.get(f"/admin/deliveries/replaybatch/{batch.pk}/change/")
    assert "done 2 of 2" in text_of(after.content)
    assert "2 under way" in text_of(after.content)
    batch.refresh_from_db()
    assert batch.credits == batch.credits_estimate == 2 * MICRO


@pytest.mark.parametrize(
    ("form", "said"), [({"pace": "-1"}, "greater than or equal"), ({"pace": "x"}, "Enter a number")]
)
def test_a_wrong_pace_is_told_and_starts_nothing(form: dict[str, str], said: str, client_of, dead: Any) -> None:
    page = client_of("support").post(ALL, {"confirmed": "yes", **form})
    assert said in text_of(page.content)
    assert ReplayBatch.objects.count() == 0


@pytest.mark.parametrize("query", ["target=99999999999999999999", "reason=nonsense", "since=soon", "project=x"])
def test_a_wrong_filter_replays_nothing(query: str, client_of, dead: list[Delivery]) -> None:
    client: Client = client_of("support")
    assert client.get(f"{ALL}?{query}").status_code == 200
    assert client.post(f"{ALL}?{query}", {"confirmed": "yes", "pace": "1"}).status_code == 200
    assert ReplayBatch.objects.count() == 0


def test_a_replay_is_paused_resumed_and_cancelled_with_its_history(client_of, dead: list[Delivery]) -> None:
    client: Client = client_of("support")
    client.post(ALL, {"confirmed": "yes", "pace": "1"})
    batch = ReplayBatch.objects.get()
    page = f"/admin/deliveries/replaybatch/{batch.pk}/turn"
    for word, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert client.get(f"{page}/{word}/").status_code == 405
        client.post(f"{page}/{word}/")
        batch.refresh_from_db()
        assert batch.state == state
    refused = client.post(f"{page}/resume/", follow=True)
    assert "The replay is cancelled." in text_of(refused.content)
    assert client.post(f"{page}/explode/").status_code == 404
    said = list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True))
    assert said == [
        "Started: 3 deliveries for 0.00 credits.",
        "Paused after 0 deliveries.",
        "Resumed after 0 deliveries.",
        "Cancelled after 0 deliveries.",
    ]
    assert "Paused after 0" in text_of(client.get(f"/admin/deliveries/replaybatch/{batch.pk}/history/").content)
    assert ReplaySteps().step(batch.pk) == 0


def test_who_may_not_replay_may_not_stop_one_either(client_of, dead: list[Delivery]) -> None:
    client_of("support").post(ALL, {"confirmed": "yes", "pace": "1"})
    batch = ReplayBatch.objects.get()
    viewer: Client = client_of("viewers")
    assert viewer.get(ALL).status_code == 403
    assert viewer.post(f"/admin/deliveries/replaybatch/{batch.pk}/turn/pause/").status_code == 403
    page = text_of(viewer.get(f"/admin/deliveries/replaybatch/{batch.pk}/change/").content)
    assert "running 0 of 3" in page
    assert "Pause" not in page
    assert "Replay all" not in text_of(viewer.get("/admin/deliveries/deaddelivery/").content)


def test_the_api_previews_starts_and_stops(token_of, catalog: rows.Catalog, dead: list[Delivery]) -> None:
    api, token = Client(), token_of("support")
    body: dict[str, Any] = {"filter": {"reason": "attempts_exhausted", "project": "shop"}, "pace": 1, "note": "api"}
    said = api.post(API, {**body, "dryRun": True}, JSON, headers=token)
    assert said.status_code == 200
    assert {**said.json(), "oldestFailedAt": None, "newestFailedAt": None} == {
        "matchedCount": 2,
        "isMore": False,
        "replayableCount": 2,
        "creditsEstimate": 0,
        "byReason": {"attempts_exhausted": 2},
        "byRefusal": {},
        "oldestFailedAt": None,
        "newestFailedAt": None,
    }
    assert ReplayBatch.objects.count() == 0
    started = api.post(API, body, JSON, headers=token)
    assert started.status_code == 202
    made = started.json()
    assert (made["state"], made["matchedCount"], made["createdBy"], made["note"]) == (
        "running",
        2,
        "support-token",
        "api",
    )
    assert made["filter"] == body["filter"]
    assert Client().post(f"{API}/{made['id']}/pause", headers=token_of("viewers")).status_code == 403
    assert ReplaySteps().step(made["id"]) == 1
    paused = api.post(f"{API}/{made['id']}/pause", headers=token).json()
    assert (paused["state"], paused["replayedCount"], paused["underWayCount"]) == ("paused", 1, 1)
    again = api.post(f"{API}/{made['id']}/pause", headers=token)
    assert (again.status_code, again.json()["fields"]) == (400, {"state": ["The replay is paused."]})
    assert api.get(f"{API}/{made['id']}", headers=token).json()["state"] == "paused"
    assert [each["id"] for each in api.get(API, headers=token).json()["results"]] == [made["id"]]
    assert api.post(f"{API}/{made['id']}/cancel", headers=token).json()["state"] == "cancelled"
    listed = api.get(f"/api/v1/deliveries?replay={made['id']}", headers=token).json()["results"]
    assert [each["replayBatchId"] for each in listed] == [made["id"]]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": [], "pace": 1},
        {"ids": [str(uuid7())], "filter": {}},
        {"filter": {"colour": "red"}},
        {"filter": {"project": "none"}},
        {"filter": {"since": "soon"}},
        {"filter": {}, "pace": 0},
        {"filter": {}, "pace": 1e9},
        {"filter": []},
    ],
    ids=lambda body: "_".join(sorted(body)) or "nothing",
)
def test_the_api_refuses_what_it_cannot_mean(body: dict[str, Any], token_of, dead: list[Delivery]) -> None:
    answer = Client().post(API, body, JSON, headers=token_of("support"))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid")
    assert ReplayBatch.objects.count() == 0
    assert states() == ["dead"] * 3


@pytest.mark.parametrize(("who", "status"), [("viewers", 403), ("support", 202)])
def test_who_may_start_one_by_api(who: str, status: int, token_of, dead: list[Delivery]) -> None:
    assert Client().post(API, {"filter": {}}, JSON, headers=token_of(who)).status_code == status


def test_the_command_says_and_starts(catalog: rows.Catalog, dead: list[Delivery], capsys: Any) -> None:
    call_command("replay", "--reason", "attempts_exhausted", "--dry-run")
    assert capsys.readouterr().out == "2 deliveries, 0.000000 credits\n  2 attempts_exhausted\n"
    assert ReplayBatch.objects.count() == 0
    call_command("replay", "--target", str(catalog.target.pk), "--pace", "0.5", "--note", "mended")
    batch = ReplayBatch.objects.get()
    assert capsys.readouterr().out == f"replay {batch.pk}: 3 deliveries, 0.000000 credits; the workers run it\n"
    assert (batch.state, batch.note, str(batch.pace_per_second)) == ("running", "mended", "0.50")
    assert batch.filter == {"target": catalog.target.pk}
    call_command("replay", str(dead[0].pk), "--pace", "0")
    assert ReplayBatch.objects.latest("pk").pace_per_second is None
    for wrong in ([], ["--project", "none"], ["--all", "--by", "nobody"], ["--all", "--pace", "99999"]):
        with pytest.raises(CommandError):
            call_command("replay", *wrong)
    assert ReplayBatch.objects.count() == 2
