"""What `make chaos` would find, and when it kills; the run itself is in tests/system/test_deaths.py."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos import money
from tests.chaos.evidence import Delivery, Stored, differences
from tests.chaos.kills import KINDS, plan
from tests.chaos.traffic import Acknowledged

SAID = Acknowledged(ids={"k-1": "r-1", "k-2": "r-2"})
SEEN = {"one": {"r-1", "r-2"}, "two": {"r-1", "r-2"}}
RIGHT = Stored(
    requests=[("r-1", "k-1"), ("r-2", "k-2")],
    live=[],
    deliveries=[
        Delivery(f"{request_id}-{target}", request_id, "delivered", 1, 1, "hold+settle")
        for request_id in ("r-1", "r-2")
        for target in SEEN
    ],
)
FIRST, *OTHERS = RIGHT.deliveries


def test_nothing_differs_where_all_is_right() -> None:
    assert differences(SAID, RIGHT, SEEN) == []


@pytest.mark.parametrize(
    ("said", "stored", "seen", "found"),
    [
        (replace(SAID, wrong=["answered 500"]), RIGHT, SEEN, ["answered 500"]),
        (
            SAID,
            replace(RIGHT, requests=[("r-1", "k-1")]),
            SEEN,
            [
                "request r-2: acknowledged, and not in Postgres",
                "request r-2: seen by one, and not in Postgres",
                "request r-2: seen by two, and not in Postgres",
            ],
        ),
        (
            SAID,
            replace(RIGHT, requests=[*RIGHT.requests, ("r-3", "k-1")]),
            SEEN,
            [
                "request r-3: in Postgres, and its key has another",
                "key k-1: 2 requests",
                "request r-3: 0 finished deliveries of 2",
            ],
        ),
        (SAID, RIGHT, SEEN | {"two": {"r-1"}}, ["request r-2: never seen by two"]),
        (
            SAID,
            replace(RIGHT, live=[("r-1-one", "sending")], deliveries=OTHERS),
            SEEN,
            ["delivery r-1-one: still sending", "request r-1: 1 finished deliveries of 2"],
        ),
        (
            SAID,
            replace(RIGHT, deliveries=[replace(FIRST, closes=0, kinds="hold"), *OTHERS]),
            SEEN,
            [
                "delivery r-1-one: delivered, hold",
                "delivery r-1-one: the ledger has hold and not one hold and one close",
            ],
        ),
        (
            SAID,
            replace(RIGHT, deliveries=[replace(FIRST, state="dead"), *OTHERS]),
            SEEN,
            ["delivery r-1-one: dead, hold+settle"],
        ),
    ],
)
def test_what_differs(said: Acknowledged, stored: Stored, seen: dict[str, set[str]], found: list[str]) -> None:
    assert differences(said, stored, seen) == found


PAID = money.Account("shop", granted=100, credited=100, debited=70, called=70, delivered=40, balance=-10)


@pytest.mark.parametrize(
    ("account", "most_below", "found"),
    [
        (PAID, 10, []),
        (PAID, None, []),
        (PAID, 9, ["shop: 10 below 0, and 9 may be"]),
        (replace(PAID, credited=200), 10, ["shop: 100 was granted, and 200 is in the ledger"]),
        (replace(PAID, debited=69), 10, ["shop: calls were charged 70, and 69 is in the ledger"]),
        (replace(PAID, balance=-9), 10, ["shop: the balance is -9, and not what the rows say"]),
    ],
)
def test_what_differs_of_money(account: money.Account, most_below: int | None, found: list[str]) -> None:
    assert money.differences(account, most_below=most_below) == found


def test_a_seed_is_a_plan() -> None:
    kills = plan(7, 1000, 10)
    assert kills == plan(7, 1000, 10) != plan(8, 1000, 10)
    assert [kill.at_acknowledged for kill in kills] == sorted(kill.at_acknowledged for kill in kills)
    assert all(20 <= kill.at_acknowledged < 1000 for kill in kills)
    counts = Counter(kill.kind for kill in kills)
    assert sorted(counts) == sorted(KINDS)
    assert sorted(counts.values()) == [2, 2, 2, 2, 2]
