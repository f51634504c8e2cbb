"""What admission reserves before a host is asked."""

from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.nouns import Capabilities, Meter, RateLimit, RateLimitId, Rule
from relay_contract.pricing import PriceMeter, Rate
from relay_contract.traffic import BreakerKind
from relay_edge.charges import NO_RULES, Charge, ChargeSet, charge_set
from relay_edge.needs import LEAST_AUDIO_BYTES_A_SECOND, UNBOUNDED_TOKENS, need_of
from relay_edge.offers import Guard, Offer
from relay_edge.protocols.model_name import read_model_request
from relay_edge.reservation import NOTHING, Need
from relay_edge.routing import Candidate
from tests.edge.nouns import BINDING, HOST, HOST_KEY, MODEL, PRICING

GUARD = Guard(BreakerKind.BINDING, "b:1", "vendor", 1)
DOLLAR_A_TOKEN = replace(PRICING, rates=tuple(replace(rate, nanousd_per_million=10**15) for rate in PRICING.rates))
BODY = b'{"model":"demo-gpt","messages":[]%b}'
PROMPT = 9  # a quarter of the body's characters, rounded up


def offer(most: int | None = None, pricing: nouns.Pricing | None = None) -> Offer:
    model = replace(MODEL, capabilities=Capabilities(max_output_tokens=most))
    candidate = Candidate(model, BINDING, HOST, HOST_KEY, pricing)
    return Offer(guards=(GUARD, GUARD, GUARD), limits=NO_RULES, packed=b"", candidate=candidate)


def charges(*meters: Meter) -> ChargeSet:
    rules = tuple(Rule(meter, 10, 60) for meter in meters)
    return charge_set((Charge("key", 1, RateLimit(RateLimitId(1), "limit", rules)),))


def needed(fields: str, offers: list[Offer], *meters: Meter) -> Any:
    return need_of(read_model_request(BODY % fields.encode()), charges(*meters), offers)


@pytest.mark.parametrize("meters", [(), (Meter.REQUESTS, Meter.CONCURRENCY)])
def test_nothing_is_worked_out_where_no_limit_counts_it(meters: tuple[Meter, ...]) -> None:
    assert needed("", [offer(pricing=DOLLAR_A_TOKEN)], *meters) is NOTHING


@pytest.mark.parametrize(
    ("fields", "most", "tokens", "written"),
    [
        (',"max_tokens":7', None, 7, 7),
        (',"max_tokens":7', 5, 5, 5),  # the model writes no more
        (',"max_tokens":7', 100, 7, 7),
        ("", 100, 100, 100),
        ("", None, UNBOUNDED_TOKENS, UNBOUNDED_TOKENS),
        ("", 128_000, UNBOUNDED_TOKENS, 128_000),  # money is reserved whole
    ],
)
def test_the_answer_counts_by_its_bound(fields: str, most: int | None, tokens: int, written: int) -> None:
    prompt = -(-len(BODY % fields.encode()) // 4)
    found = needed(fields, [offer(most, DOLLAR_A_TOKEN)], Meter.TOKENS)
    assert found == Need(prompt + tokens, (prompt + written) * 10**9, (prompt + written) * 10**9)


def test_the_dearest_of_the_candidates_counts_and_one_without_a_price_counts_nothing() -> None:
    offers = [offer(10), offer(10, PRICING), offer(20, DOLLAR_A_TOKEN), offer(5, DOLLAR_A_TOKEN)]
    assert needed("", offers, Meter.COST) == Need(PROMPT + 20, (PROMPT + 20) * 10**9, (PROMPT + 20) * 10**9)
    assert needed("", offers[:1], Meter.COST) == Need(PROMPT + 10, 0)


def test_sound_is_reserved_as_long_as_its_file_can_make_it() -> None:
    rates = (Rate(PriceMeter.INPUT_AUDIO_SECOND, 100_000_000_000),)
    request = read_model_request(BODY % b"")
    by_length = [offer(pricing=replace(PRICING, rates=rates))]
    found = need_of(request, charges(Meter.COST), by_length, audio_bytes=LEAST_AUDIO_BYTES_A_SECOND * 60 + 1)
    assert found.cost_nanousd == 61 * 100_000
    assert need_of(request, charges(Meter.COST), by_length).cost_nanousd == 0


def test_a_purse_has_to_pay_the_dearest_fallback_as_well() -> None:
    free, dear = offer(10), offer(10, DOLLAR_A_TOKEN).candidate
    request = read_model_request(BODY % b"")
    assert need_of(request, charges(), [free]) is NOTHING
    assert need_of(request, charges(), [free], paid=()) == Need(PROMPT + 10, 0, 0)
    # Limits count who is asked first.
    assert need_of(request, charges(), [free], paid=(dear,)) == Need(PROMPT + 10, 0, (PROMPT + 10) * 10**9)
