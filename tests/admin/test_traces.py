"""The way of a call to its answer, and what was captured of it, on the call's page."""

import pytest

from relay_admin.traffic.models import Capture, Trace
from relay_admin.traffic.trace_view import Bar, trace_view
from tests.admin import rows
from tests.admin.test_pages import text_of

CANDIDATE = {
    "model": "gpt-demo", "when": [], "host": "vendor", "host_key": "main", "host_key_id": 1, "binding_id": 1,
    "shape": "openai_chat", "upstream_name": "gpt-up", "priority": 0, "is_translated": False, "is_passed_over": False,
}  # fmt: skip
ATTEMPT = {
    "host": "vendor", "host_key": "main", "host_key_id": 1, "binding_id": 1, "shape": "openai_chat",
    "upstream_name": "gpt-up", "status": 200, "error": "", "failure": None, "start_us": 250_000,
    "first_byte_us": 400_000, "first_token_us": 500_000, "duration_us": 750_000,
}  # fmt: skip
TRACE = {
    "why": "retried", "has_affinity": True, "selection": "latency", "policy": "all", "candidate_count": 5,
    "candidates": [
        CANDIDATE | {"host": "<b>away</b>", "host_key_id": 9, "is_passed_over": True},
        CANDIDATE,
        CANDIDATE | {"host": "other", "host_key_id": 2, "when": ["any_failure"], "is_translated": True},
    ],
    "attempts": [
        ATTEMPT | {"status": 0, "failure": "timeout", "start_us": 1_000, "duration_us": 9_000,
                   "first_byte_us": None, "first_token_us": None},
        ATTEMPT,
    ],
    "limits": [{"meter": "tokens", "limit": 100_000, "remaining": 71_233, "reset_ms": 58_000}],
    "reserved": {"tokens": 9_192, "nanousd": 102_000_000}, "used": {"tokens": 1_290, "nanousd": 1_350_000},
    "phases": {"read_us": 350, "admission_us": 650, "total_us": 1_000_000},
    "price": {"id": 1, "slug": "vendor/gpt", "nanousd": 1_350_000, "lines": [
        {"meter": "input", "units": 1_080, "nanousd_per_million": 1_250_000_000, "nanousd": 1_350_000}]},
    "warnings": ["dropped:seed"],
}  # fmt: skip


def test_bars_stand_where_things_happened() -> None:
    view = trace_view(TRACE)
    assert [(row.name, row.outcome, row.is_failed) for row in view.rows] == [
        ("Read", "", False), ("Admission", "", False), ("vendor", "no answer, timeout", True),
        ("vendor", "HTTP 200", False),
    ]  # fmt: skip
    assert [[(bar.tone, bar.left, bar.width) for bar in row.bars] for row in view.rows[1:]] == [
        [("relay", 0.035, 0.065)],
        [("failed", 0.1, 0.9)],
        [("waiting", 25.0, 25.0), ("answer", 50.0, 50.0)],
    ]
    assert [each["became"].partition(":")[0] for each in view.candidates] == ["passed over", "answered", "not needed"]
    assert [each["tone"] for each in view.candidates] == ["warning", "success", ""]
    assert view.ticks == ["0 µs", "250.0 ms", "500.0 ms", "750.0 ms", "1.00 s"]
    assert [(each["share"], each["is_low"]) for each in view.limits] == [(71.2, False)]


def test_what_failed_says_how() -> None:
    failed = ATTEMPT | {"status": 503, "failure": "server_error"}
    [candidate] = trace_view({"candidates": [CANDIDATE], "attempts": [failed]}).candidates
    assert (candidate["tone"], candidate["became"]) == ("danger", "failed: HTTP 503, server_error")


@pytest.mark.parametrize(("limit", "share", "is_low"), [(0, 0.0, True), (None, 0.0, True), (40, 100.0, False)])
def test_a_limit_of_nothing_is_no_division(limit: int | None, share: float, is_low: bool) -> None:
    [shown] = trace_view({"limits": [{"meter": "tokens", "limit": limit, "remaining": 50}]}).limits
    assert (shown["share"], shown["is_low"]) == (share, is_low)


def test_a_bar_stays_within_the_call() -> None:
    late = ATTEMPT | {"start_us": 900_000, "duration_us": 500_000, "first_token_us": None, "first_byte_us": None}
    [_, bar_row] = trace_view({"phases": {"total_us": 1_000_000}, "attempts": [late]}).rows
    assert bar_row.bars == (Bar("waiting", 90.0, 10.0, "until the first content: 500.0 ms"),)


@pytest.mark.parametrize("trace", [{}, {"phases": None, "attempts": None, "price": None}, {"tried": ["x"]}])
def test_a_trace_of_another_version_is_shown_as_far_as_it_goes(trace: dict) -> None:
    assert [row.name for row in trace_view(trace).rows] == ["Read"]


def test_the_page_shows_the_way(client_of, catalog: rows.Catalog) -> None:
    call = rows.call_row(catalog)
    Trace.objects.create(id=call.pk, received_at=call.received_at, trace=TRACE)
    raw = client_of("viewers").get(f"/admin/traffic/call/{call.pk}/change/").content
    page = text_of(raw)
    for text in (
        "kept because more than one try was needed", "Policy all",
        "of equal priority the quickest to a first token first; the conversation's key before all",
        "no answer, timeout", "HTTP 200", "passed over", "fallback after any_failure", "2 more",
        "71,233 of 100,000", "58.00 s", "Reserved 9,192 tokens, 0.102 USD; used 1,290 tokens, 0.00135 USD",
        "vendor/gpt", "1.25 USD", "dropped:seed",
    ):  # fmt: skip
        assert text.replace("'", "&#x27;") in page or text in page, text
    assert 'style="left:25.0%;width:25.0%"' in raw.decode()
    assert "<b>away</b>" not in raw.decode()


def test_the_page_says_so_where_none_was_kept(client_of, catalog: rows.Catalog) -> None:
    call = rows.call_row(catalog)
    page = text_of(client_of("viewers").get(f"/admin/traffic/call/{call.pk}/change/").content)
    assert "No trace was kept of this call." in page


@pytest.mark.parametrize(("who", "may"), [("viewers", False), ("support", True), ("operators", True)])
def test_who_reads_what_was_captured(who: str, may: bool, client_of, catalog: rows.Catalog) -> None:
    call = rows.call_row(catalog)
    Capture.objects.create(
        id=call.pk, received_at=call.received_at, request="canary-prompt <b>", response="canary-answer", is_cut=True
    )
    page = client_of(who).get(f"/admin/traffic/call/{call.pk}/change/").content.decode()
    assert ("canary-prompt &lt;b&gt;" in page, "canary-answer" in page, "Cut to size" in page) == (may, may, may)
    assert ("Captured payload" in page) is may
