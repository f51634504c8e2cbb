"""A trace as its page shows it: bars of a timeline in percent, and figures in words. Pure.

Traces are written by the edge of this version or of an earlier one, so everything is read as something that may be
missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay_contract.pricing import usd_text

_MILLISECOND = 1_000
_SECOND = 1_000_000
_TICKS = 4
_LOW_PERCENT = 10

WHY = {
    "failed": "kept because the call failed",
    "left": "kept because the caller left",
    "retried": "kept because more than one try was needed",
    "slow": "kept because it was slow",
    "asked": "kept because its caller asked for it",
    "sampled": "kept as one of the sampled calls",
}


OF_EQUAL_PRIORITY = {
    "priority": "those first that need no translation",
    "weight": "by chance, in proportion to weight",
    "least_busy": "the least busy first",
    "latency": "the quickest to a first token first",
    "cost": "the cheapest first",
}
"""`nouns.Selection` in words."""


@dataclass(frozen=True)
class Bar:
    """A piece of the timeline: where it begins and how wide it is, in percent of the call."""

    tone: str  # a class of the stylesheet
    left: float
    width: float
    title: str


@dataclass(frozen=True)
class Row:
    """A line of the timeline."""

    name: str
    detail: str
    outcome: str
    is_failed: bool
    duration: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class TraceView:
    """Everything that the template prints."""

    why: str
    order: str
    total: str
    ticks: list[str]
    rows: list[Row]
    candidates: list[dict[str, Any]]
    more_candidates: int
    limits: list[dict[str, Any]]
    reserved: str
    used: str
    price_slug: str
    price_lines: list[dict[str, str]]
    cost: str
    warnings: list[str]


def time_text(microseconds: int) -> str:
    """Such as `850 µs`, `12.3 ms`, `4.56 s`."""
    if microseconds < _MILLISECOND:
        return f"{microseconds} µs"
    if microseconds < _SECOND:
        return f"{microseconds / _MILLISECOND:.1f} ms"
    return f"{microseconds / _SECOND:.2f} s"


def trace_view(trace: Mapping[str, Any]) -> TraceView:
    """Ready to be printed."""
    phases = trace.get("phases") or {}
    total = max(1, phases.get("total_us") or 1)
    candidates = trace.get("candidates") or []
    price = trace.get("price") or {}
    return TraceView(
        why=WHY.get(str(trace.get("why")), ""),
        order=_order(trace),
        total=time_text(total),
        ticks=[time_text(total * part // _TICKS) for part in range(_TICKS + 1)],
        rows=_relay_rows(phases, total) + [_attempt(each, total) for each in trace.get("attempts") or []],
        candidates=[_candidate(place, each, trace) for place, each in enumerate(candidates, 1)],
        more_candidates=max(0, (trace.get("candidate_count") or 0) - len(candidates)),
        limits=[_limit(each) for each in trace.get("limits") or []],
        reserved=_amount(trace.get("reserved")),
        used=_amount(trace.get("used")),
        price_slug=price.get("slug", ""),
        price_lines=[_price_line(each) for each in price.get("lines") or []],
        cost=_usd(price.get("nanousd")),
        warnings=list(trace.get("warnings") or []),
    )


def _order(trace: Mapping[str, Any]) -> str:
    if not trace.get("policy"):
        return ""
    chosen = str(trace.get("selection"))
    kept = "; the conversation's key before all" if trace.get("has_affinity") else ""
    return f"Policy {trace['policy']}: by priority, of equal priority {OF_EQUAL_PRIORITY.get(chosen, chosen)}{kept}."


def _relay_rows(phases: Mapping[str, Any], total: int) -> list[Row]:
    read, admission = phases.get("read_us") or 0, phases.get("admission_us")
    rows = [_row("Read", "key, body, plan", 0, read, total)]
    if admission is not None:
        rows.append(_row("Admission", "limits, breakers", read, admission, total))
    return rows


def _row(name: str, detail: str, start: int, duration: int, total: int) -> Row:
    bar = _bar("relay", start, duration, total, f"{name}: {time_text(duration)}")
    return Row(name, detail, "", False, time_text(duration), (bar,))


def _attempt(each: Mapping[str, Any], total: int) -> Row:
    start, duration = each.get("start_us") or 0, each.get("duration_us") or 0
    end, byte, token = start + duration, each.get("first_byte_us"), each.get("first_token_us")
    is_failed = bool(each.get("failure"))
    waited = min(end, token if token is not None else byte if byte is not None else end)
    tone = "failed" if is_failed else "waiting"
    bars = [_bar(tone, start, waited - start, total, f"until the first content: {time_text(waited - start)}")]
    if end > waited:
        tone = "failed" if is_failed else "answer"
        bars.append(_bar(tone, waited, end - waited, total, f"the answer: {time_text(end - waited)}"))
    return Row(
        name=str(each.get("host", "")),
        detail=f"key {each.get('host_key', '')}, {each.get('upstream_name', '')}, {each.get('shape', '')}",
        outcome=_outcome(each),
        is_failed=is_failed,
        duration=time_text(duration),
        bars=tuple(bars),
    )


def _bar(tone: str, start: int, duration: int, total: int, title: str) -> Bar:
    left = min(100.0, 100 * max(0, start) / total)
    return Bar(tone, round(left, 3), round(min(100 - left, 100 * max(0, duration) / total), 3), title)


def _candidate(place: int, each: Mapping[str, Any], trace: Mapping[str, Any]) -> dict[str, Any]:
    tried = [
        one for one in trace.get("attempts") or []
        if (one.get("binding_id"), one.get("host_key_id")) == (each.get("binding_id"), each.get("host_key_id"))
    ]  # fmt: skip
    reasons = [f"priority {each.get('priority')}"]
    if each.get("is_translated"):
        reasons.append("translated")
    if each.get("when"):
        reasons.append(f"fallback after {' or '.join(each['when'])}")
    tone, became = "", "not needed"
    if tried and tried[-1].get("failure"):
        tone, became = "danger", f"failed: {_outcome(tried[-1])}"
    elif tried:
        tone, became = "success", "answered"
    elif each.get("is_passed_over"):
        tone, became = "warning", "passed over: its breaker was open, or its host key at a limit"
    return {**each, "place": place, "reason": ", ".join(reasons), "tone": tone, "became": became}


def _outcome(attempt: Mapping[str, Any]) -> str:
    status = f"HTTP {attempt['status']}" if attempt.get("status") else "no answer"
    return f"{status}, {attempt.get('failure')}" if attempt.get("failure") else status


def _limit(each: Mapping[str, Any]) -> dict[str, Any]:
    left, limit = each.get("remaining") or 0, each.get("limit") or 0
    share = min(100.0, max(0.0, 100 * left / limit)) if limit else 0.0
    return {
        "meter": str(each.get("meter")),
        "left": f"{left:,} of {limit:,}",
        "share": round(share, 1),
        "is_low": share < _LOW_PERCENT,
        "reset": time_text((each.get("reset_ms") or 0) * _MILLISECOND),
    }


def _amount(each: Mapping[str, Any] | None) -> str:
    if not each:
        return ""
    cost = each.get("nanousd")
    return f"{each.get('tokens', 0):,} tokens" + ("" if cost is None else f", {usd_text(cost)} USD")


def _price_line(each: Mapping[str, Any]) -> dict[str, str]:
    return {
        "meter": str(each.get("meter")),
        "units": f"{each.get('units', 0):,}",
        "rate": f"{usd_text(each.get('nanousd_per_million') or 0)} USD",
        "cost": _usd(each.get("nanousd")),
    }


def _usd(nanousd: int | None) -> str:
    return "" if nanousd is None else f"{usd_text(nanousd)} USD"
