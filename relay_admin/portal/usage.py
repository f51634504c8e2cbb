"""Usage in the portal: of a project, and one's own. Sums by the hour alone: no call is read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Value
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from relay_admin.access.models import OAuthApplication, RelayKey, User
from relay_admin.access.roles import Act
from relay_admin.account.page import user_of
from relay_admin.catalog.models import Endpoint
from relay_admin.ledger import usage
from relay_admin.ledger.amounts import credits_text
from relay_admin.ledger.usage import By, Range, Step
from relay_admin.portal.charts import Chart, bar_chart, moments
from relay_admin.portal.page import Place, portal_page, project_of, shown
from relay_contract.nouns import KeyMode

MOST_GROUPS = 50
"""Of a table: the ones that are charged most."""


@dataclass(frozen=True, slots=True)
class Span:
    """What the page may be asked to show, up to now."""

    slug: str
    title: str
    length: timedelta
    step: Step


SPANS = (
    Span("day", "24 hours", timedelta(days=1), Step.HOUR),
    Span("week", "7 days", timedelta(days=7), Step.HOUR),
    Span("month", "30 days", timedelta(days=30), Step.DAY),
    Span("quarter", "90 days", timedelta(days=90), Step.DAY),
)
GROUPS = {
    By.MODEL: "Model",
    By.KEY: "Key",
    By.APP: "Application",
    By.USER: "Person",
    By.ENDPOINT: "Endpoint",
}
_OWN_GROUPS = (By.MODEL, By.APP)
_LENGTHS = {Step.HOUR: timedelta(hours=1), Step.DAY: timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Moment:
    """An hour or a day."""

    at: Any
    calls: int
    deliveries: int
    tokens: int
    charge: int  # micro-credits, of both


@require_safe
@portal_page
def project_usage(request: HttpRequest, project: str) -> HttpResponse:
    """Of a project."""
    place = project_of(request, project, Act.SEE_TRAFFIC)
    return _page(request, place, {"project_id": place.project.pk}, tuple(GROUPS))


@require_safe
@portal_page
def own_usage(request: HttpRequest) -> HttpResponse:
    """Of the calls that were charged to who is signed in, whatever the application."""
    return _page(request, None, {"user_id": user_of(request).pk}, _OWN_GROUPS)


def _page(request: HttpRequest, place: Place | None, of: dict[str, int], groups: tuple[By, ...]) -> HttpResponse:
    span = next((one for one in SPANS if one.slug == request.GET.get("range")), SPANS[2])
    by = next((one for one in groups if one == request.GET.get("by")), By.MODEL)
    mode = KeyMode.TEST if request.GET.get("mode") == "test" else KeyMode.LIVE
    wanted = _range(span, mode, of)
    found = _moments(wanted, span.step)
    return shown(
        request,
        "usage",
        place,
        span=span,
        spans=SPANS,
        by=by,
        groups=[(one, GROUPS[one]) for one in groups],
        group_title=GROUPS[by],
        mode=mode,
        modes=list(KeyMode),
        charts=_charts(found),
        moments=[moment for moment in found if moment.calls or moment.deliveries],
        is_empty=not any(moment.calls or moment.deliveries for moment in found),
        since=found[0].at,
        until=found[-1].at,
        rows=_rows(wanted, by),
        most=MOST_GROUPS,
    )


def _range(span: Span, mode: KeyMode, of: dict[str, int]) -> Range:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    until = now + timedelta(hours=1) if span.step is Step.HOUR else now.replace(hour=0) + timedelta(days=1)
    return Range(until - span.length, until, mode=str(mode), **of)


def _moments(wanted: Range, step: Step) -> list[Moment]:
    """Each of the range, also those in which nothing was."""
    places = moments(wanted.since, wanted.until, _LENGTHS[step])
    found = {(at, what): total for at, what, total in usage.series(wanted, step, limit=len(places))}
    none = usage.Total(0, 0, 0, 0, 0, 0, 0)
    return [
        Moment(
            at=at,
            calls=(calls := found.get((at, "call"), none)).calls,
            deliveries=(deliveries := found.get((at, "delivery"), none)).calls,
            tokens=calls.input_tokens + calls.output_tokens,
            charge=calls.charge + deliveries.charge,
        )
        for at in places
    ]


def _charts(found: list[Moment]) -> list[tuple[Chart, str, str]]:
    """Each with what its sum and its upper edge are in words. Without those in which nothing was."""
    counts = [
        bar_chart("Calls to models", [one.calls for one in found]),
        bar_chart("Deliveries", [one.deliveries for one in found]),
        bar_chart("Tokens", [one.tokens for one in found]),
    ]
    drawn = [(chart, f"{chart.total:,}", f"{chart.top:,}") for chart in counts if chart.total]
    charged = sum(one.charge for one in found)
    if charged:
        # A name is read aloud: micro-credits are not what people count in.
        chart = bar_chart("Credits", [one.charge for one in found])
        name = f"Credits: {credits_text(charged)} in all, at most {credits_text(max(one.charge for one in found))}"
        drawn.append((Chart(chart.title, name, chart.path, chart.top, charged), credits_text(charged),
                      credits_text(chart.top)))  # fmt: skip
    return drawn


def _rows(wanted: Range, by: By) -> list[tuple[str, usage.Total]]:
    """Name and sums."""
    found = usage.largest(wanted, by, MOST_GROUPS)
    names = _names(by, [value for value, _ in found])
    return [(names.get(value) or f"deleted ({value})", total) for value, total in found]


def _names(by: By, values: Iterable[Any]) -> dict[Any, str]:
    ids = [value for value in values if value]
    none = {0: "none", "": "none"}
    match by:
        case By.KEY:
            return none | dict(RelayKey.objects.filter(pk__in=ids).values_list("pk", "name"))
        case By.APP:
            return none | dict(OAuthApplication.objects.filter(pk__in=ids).values_list("pk", "name"))
        case By.USER:
            return none | dict(User.objects.filter(pk__in=ids).values_list("pk", "username"))
        case By.ENDPOINT:
            path = Concat("line__slug", Value("/"), "slug")
            rows = Endpoint.objects.filter(pk__in=ids).annotate(path=path).values_list("pk", "path")
            return {0: "deleted targets"} | dict(rows)
        case _:
            return {"": "none"} | {value: str(value) for value in ids}
