"""Which calls leave a trace, and what it says: how a call came to its answer. Pure.

Kept of each call that failed, was tried more than once, was slow or asks for it by a tag, and of a share of all others
(RELAY_TRACE_SHARE).
On the response path that is one decision; the trace is made later, from what `CallRecord` refers to. It names rows of
the catalog and holds figures: no secret, no header, nothing of a body.
"""

import random
from datetime import UTC, datetime
from typing import Any

from relay_contract.headers import TRACE_TAG
from relay_contract.pricing import price_lines
from relay_edge.call_record import LEFT, Attempt, CallRecord
from relay_edge.call_rows import bill_of, encode_row
from relay_edge.reservation import NOTHING
from relay_edge.routing import Candidate, Leg, Plan
from relay_edge.selection import Chance

MOST_CANDIDATES = 32
"""Of a plan; how many it had is told too."""

_FIRST_FAILURE = 400


class Sampling:
    """Why a call leaves a trace, if it does."""

    __slots__ = ("_chance", "_share", "_slow_seconds")

    def __init__(self, share: float, slow_seconds: float, chance: Chance = random.random) -> None:
        """`slow_seconds`: to the first content of a stream, to the end of any other answer."""
        self._share = share
        self._slow_seconds = slow_seconds
        self._chance = chance

    def why(self, record: CallRecord) -> str:
        """`failed`, `left`, `retried`, `slow`, `asked` or `sampled`; "" for a call that leaves none. 0.3 us."""
        if record.status >= _FIRST_FAILURE or record.error:
            return "left" if record.status == LEFT else "failed"
        if len(record.attempts) > 1:
            return "retried"
        waited_until = record.ended if record.first_token is None or not record.is_stream else record.first_token
        if waited_until - record.started >= self._slow_seconds:
            return "slow"
        if TRACE_TAG in record.tags:
            return "asked"
        return "sampled" if self._share >= 1 or self._chance() < self._share else ""


def encode_trace(call_id: str, record: CallRecord, why: str) -> bytes:
    """The row of `traffic.TraceRow` as its insert takes it."""
    received_at = datetime.fromtimestamp(record.received_at, UTC)
    return encode_row({"id": call_id, "received_at": received_at, "trace": trace_of(record, why)})


def trace_of(record: CallRecord, why: str) -> dict[str, Any]:
    """Times are microseconds, offsets of attempts counted from the start of the call, money nano-USD."""
    reservation, bill = record.reservation, bill_of(record)
    need = None if reservation is None or reservation.need is NOTHING else reservation.need
    limits = record.limits if reservation is None else reservation.limits()
    candidate = record.candidate
    pricing = None if candidate is None else candidate.pricing
    return {
        "why": why,
        "has_affinity": record.has_affinity,
        "selection": None if record.policy is None else record.policy.selection,
        "policy": None if record.policy is None else record.policy.slug,
        "candidate_count": 0 if record.plan is None else sum(len(leg.candidates) for leg in record.plan.legs),
        "candidates": [] if record.plan is None else _candidates(record, record.plan),
        "attempts": [_attempt(record.started, each) for each in record.attempts],
        "limits": [
            {"meter": each.meter, "limit": each.limit, "remaining": each.remaining, "reset_ms": each.reset_ms}
            for each in limits
        ],
        "reserved": None if need is None else {"tokens": need.tokens, "nanousd": need.cost_nanousd},
        "used": {"tokens": bill.usage.limited_tokens, "nanousd": bill.cost_nanousd},
        "phases": _phases(record),
        "price": None
        if pricing is None
        else {
            "id": pricing.id,
            "slug": pricing.slug,
            "nanousd": bill.cost_nanousd,
            "lines": [
                {
                    "meter": line.meter,
                    "units": line.units,
                    "nanousd_per_million": line.nanousd_per_million,
                    "nanousd": line.nanousd,
                }
                for line in (price_lines(pricing.rates, bill.usage) if bill.is_used else ())
            ],
        },
        "warnings": [] if record.notes is None else list(record.notes.all()),
    }


def _candidates(record: CallRecord, plan: Plan) -> list[dict[str, Any]]:
    """In the order of the plan. One that stands before the first that was tried, and was not, admission passed over."""
    tried = [each.candidate for each in record.attempts]
    told: list[dict[str, Any]] = []
    is_before_first = bool(tried)
    for leg in plan.legs:
        for candidate in leg.candidates[: MOST_CANDIDATES - len(told)]:
            is_before_first = is_before_first and candidate is not tried[0]
            is_passed_over = is_before_first and not any(candidate is each for each in tried)
            told.append(_candidate(plan, leg, candidate, is_passed_over=is_passed_over))
    return told


def _candidate(plan: Plan, leg: Leg, candidate: Candidate, *, is_passed_over: bool) -> dict[str, Any]:
    binding = candidate.binding
    return {
        "model": candidate.model.name,
        "when": sorted(leg.when),
        "host": candidate.host.slug,
        "host_key": candidate.key.name,
        "host_key_id": candidate.key.id,
        "binding_id": binding.id,
        "shape": binding.wire_shape,
        "upstream_name": binding.upstream_name,
        "priority": binding.priority,
        "is_translated": binding.wire_shape is not plan.shape,
        "is_passed_over": is_passed_over,
    }


def _attempt(started: float, attempt: Attempt) -> dict[str, Any]:
    candidate = attempt.candidate
    return {
        "model": candidate.model.name,
        "host": candidate.host.slug,
        "host_key": candidate.key.name,
        "host_key_id": candidate.key.id,
        "binding_id": candidate.binding.id,
        "shape": candidate.binding.wire_shape,
        "upstream_name": candidate.binding.upstream_name,
        "status": attempt.status,
        "error": attempt.error,
        "failure": attempt.failure,
        "start_us": _us(attempt.started - started),
        "first_byte_us": _since(attempt.first_byte, started),
        "first_token_us": _since(attempt.first_token, started),
        "duration_us": _us(max(0.0, attempt.ended - attempt.started)),
    }


def _phases(record: CallRecord) -> dict[str, int | None]:
    """`read`: key, body and plan, until admission was asked."""
    asked, admitted, total = record.asked, record.admitted, record.ended - record.started
    return {
        "read_us": _us(total) if asked is None else _us(asked - record.started),
        "admission_us": None if asked is None else _us((record.ended if admitted is None else admitted) - asked),
        "upstream_us": _us(record.upstream_seconds),
        "first_token_us": _since(record.first_token, record.started),
        "total_us": _us(total),
    }


def _since(moment: float | None, started: float) -> int | None:
    return None if moment is None else _us(moment - started)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
