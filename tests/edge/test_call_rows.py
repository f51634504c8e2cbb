"""A finished call as a row: what it used, what it cost, and nothing that Postgres would choke on."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.traffic import CallRow, ErrorSource, columns
from relay_contract.usage import Usage, UsageSource
from relay_edge.call_record import Attempt, CallRecord, Reached
from relay_edge.call_rows import CallToKeep, encode_row, is_kept, used
from relay_edge.purses import key_purses
from relay_edge.routing import Candidate
from tests.edge.nouns import BINDING, HOST, HOST_KEY, MODEL, MOMENT, PRICING, PROJECT, RELAY_KEY

CANDIDATE = Candidate(MODEL, replace(BINDING, pricing_id=PRICING.id), HOST, HOST_KEY, PRICING)
UNPRICED = replace(CANDIDATE, pricing=None)
OF_PROJECT = key_purses(PROJECT, RELAY_KEY).payers[0]
OF_USER = key_purses(
    replace(PROJECT, markup_ppm=200_000, terms_id=nouns.TermsId(4)),
    replace(RELAY_KEY, pays=nouns.Payer.USER, wallet_id=nouns.AccountId(300)),
).payers[0]


def record(**changes: Any) -> CallRecord:
    """A call that was answered."""
    given: dict[str, Any] = {
        "project_id": 1,
        "relay_key_id": 2,
        "requested_model": "demo-gpt",
        "candidate": CANDIDATE,
        "attempts": [Attempt(CANDIDATE, 10.0)],
        "status": 200,
        "usage": Usage(input_tokens=1000, output_tokens=10),
        "usage_source": UsageSource.PROVIDER,
        "bytes_in": 400,
        "bytes_out": 900,
        "upstream_seconds": 1.25,
        "first_token": 10.5,
        "ended": 11.5,
        **changes,
    }
    return CallRecord("req-1", "chat_completions", 10.0, MOMENT.timestamp(), **given)


def row_of(call: CallRecord) -> dict[str, Any]:
    kept = CallToKeep(call)
    row: dict[str, Any] = json.loads(kept.encoded())
    assert row["id"] == kept.id
    return row


def test_a_row_has_the_columns_in_their_order() -> None:
    assert tuple(row_of(record())) == columns(CallRow)


def test_a_row_has_the_calls_own_id_unless_the_caller_chose_that() -> None:
    made = record(is_own_id=True)
    assert CallToKeep(made).id == made.request_id
    assert CallToKeep(record()).id != "req-1"


def test_a_row_says_what_happened() -> None:
    row = row_of(record(tags={"team": "search"}, error="x", error_source=ErrorSource.UPSTREAM, user_id=7))
    del row["id"]
    assert {name: value for name, value in row.items() if value not in (0, "", None, False)} == {
        "request_id": "req-1",
        "received_at": "2026-11-21T12:00:00Z",
        "project_id": 1,
        "relay_key_id": 2,
        "user_id": 7,
        "mode": "live",
        "surface": "chat_completions",
        "requested_model": "demo-gpt",
        "model_id": 1,
        "model": "demo-gpt",
        "host_id": 1,
        "host": "vendor",
        "host_key_id": 1,
        "binding_id": 1,
        "status": 200,
        "error": "x",
        "error_source": "upstream",
        "attempts": 1,
        "usage_source": "provider",
        "input_tokens": 1000,
        "output_tokens": 10,
        "cost_nanousd": 1_350_000,  # 1,000 at 1.25 USD a million, 10 at 10
        "pricing_id": 1,
        "pricing_version": 1,
        "tags": {"team": "search"},
        "total_us": 1_500_000,
        "upstream_us": 1_250_000,
        "first_token_us": 500_000,
        "bytes_in": 400,
        "bytes_out": 900,
    }


def test_an_estimate_says_so_and_names_the_version() -> None:
    pricing = replace(PRICING, id=nouns.PricingId(7), version=3)
    row = row_of(record(candidate=replace(UNPRICED, pricing=pricing, estimate_id=pricing.id)))
    told = [row[name] for name in ("cost_nanousd", "pricing_id", "pricing_version", "estimated_price")]
    assert told == [1_350_000, 7, 3, True]
    unknown = row_of(record(candidate=UNPRICED))
    assert [unknown[name] for name in ("cost_nanousd", "pricing_id", "pricing_version", "estimated_price")] == [
        None, None, 0, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "charged"),
    [
        ({"paying": OF_PROJECT}, (100, 1_350_000, 0, None)),
        ({"paying": OF_USER}, (300, 1_620_000, 270_000, 4)),
        ({"paying": OF_USER, "usage": None, "status": 502}, (300, 0, 0, None)),  # nothing was used
        ({"paying": OF_USER, "candidate": UNPRICED}, (300, 0, 0, None)),  # nobody knows
        ({"paying": OF_USER, "is_free": True}, (300, 0, 0, None)),
        ({}, (None, 0, 0, None)),
    ],
)
def test_a_call_is_charged_to_its_payer(changes: dict[str, Any], charged: tuple[int | None, int, int, int]) -> None:
    row = row_of(record(**changes))
    names = ("payer_id", "charge_microcredits", "markup_microcredits", "terms_id")
    assert tuple(row[name] for name in names) == charged


def test_no_usage_that_a_host_claims_is_charged_beyond_a_row_of_the_ledger() -> None:
    row = row_of(record(paying=OF_USER, usage=Usage(input_tokens=2**62)))
    assert 0 < row["charge_microcredits"] <= MAX_AMOUNT


def test_nobody_s_call_has_no_row() -> None:
    assert not is_kept(record(project_id=None, relay_key_id=None))
    assert is_kept(record())


@pytest.mark.parametrize(
    ("changes", "source", "tokens", "cost"),
    [
        ({}, "provider", (1000, 10), 1_350_000),
        ({"usage_source": UsageSource.NONE}, "provider", (1000, 10), 1_350_000),
        ({"usage": Usage()}, "provider", (0, 0), 0),  # a host that says zero is believed
        ({"usage_source": UsageSource.PARTIAL, "status": 499}, "partial", (1000, 10), 1_350_000),
        ({"usage": None, "delivered_characters": 9}, "estimated", (100, 3), 155_000),
        ({"usage": None, "status": 499, "delivered_characters": 9}, "estimated", (100, 3), 155_000),
        ({"usage": None, "status": 499}, "none", (0, 0), 0),  # left before anything was delivered
        ({"usage": None, "status": 502}, "none", (0, 0), 0),
        ({"usage": None, "status": 429, "candidate": None}, "none", (0, 0), None),
        ({"candidate": UNPRICED}, "provider", (1000, 10), None),
    ],
)
def test_usage_and_cost(changes: dict[str, Any], source: str, tokens: tuple[int, int], cost: int | None) -> None:
    row = row_of(record(**changes))
    assert (row["usage_source"], (row["input_tokens"], row["output_tokens"]), row["cost_nanousd"]) == (
        source, tokens, cost,
    )  # fmt: skip


def test_an_estimate_stays_within_the_model_s_context() -> None:
    model = replace(MODEL, capabilities=nouns.Capabilities(context_tokens=64))
    usage, _ = used(record(usage=None, bytes_in=20_000_000, candidate=replace(CANDIDATE, model=model)))
    assert usage.input_tokens == 64


def test_a_call_that_was_free_before_a_host_was_reached_costs_nothing_even_by_the_call() -> None:
    assert row_of(record(usage=None, status=503))["cost_nanousd"] == 0


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("\\u0000", "\\u0000"),  # a backslash and five characters, which is no NUL
        ("m" * 300, "m" * 256),
    ],
)
def test_text_that_no_column_takes_is_mended(name: str, kept: str) -> None:
    assert row_of(record(requested_model=name))["requested_model"] == kept
    assert row_of(record(tags={name[:64]: name}))["tags"] == {kept[:64]: kept if len(kept) < 256 else name}


def test_any_text_becomes_json() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        text = "".join(chr(chance.choice((0, 9, 92, 34, 0xD800, 0xDFFF, 0x1F600, 117, 48))) for _ in range(9))
        json.loads(encode_row({"text": text}).decode())
        assert b"\0" not in encode_row({"text": text})


def test_a_free_call_costs_nothing_whatever_its_price() -> None:
    row = row_of(record(is_free=True, usage=Usage(input_tokens=5), usage_source=UsageSource.PROVIDER))
    assert (row["usage_source"], row["input_tokens"], row["cost_nanousd"]) == ("none", 0, 0)


def test_a_form_is_counted_by_its_estimate() -> None:
    row = row_of(record(prompt_tokens=1604, usage=None, bytes_in=5_000_000))
    assert (row["usage_source"], row["input_tokens"]) == ("estimated", 1604)


def test_a_raw_call_names_its_host_and_no_model() -> None:
    reached = Reached(HOST, HOST_KEY, 2)
    row = row_of(record(candidate=None, attempts=[], reached=reached, requested_model="", usage=Usage(input_tokens=5)))
    names = ("host", "host_id", "host_key_id", "binding_id", "model", "model_id", "attempts", "input_tokens")
    assert [row[name] for name in names] == ["vendor", 1, 1, None, "", None, 2, 5]
    assert row["cost_nanousd"] is None
