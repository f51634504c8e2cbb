"""How far back the charts of the home look, and the moments that each is cut into.  (pure)"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relay_admin.portal.charts import moments

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """`slug` is what the address says."""

    slug: str
    title: str
    length: timedelta
    step: timedelta
    of_one: str  # what a bar stands for

    def grid(self, now: datetime) -> "Grid":
        """Up to now: the last place is the one that goes on."""
        until = _EPOCH + ((now - _EPOCH) // self.step + 1) * self.step
        return Grid(self, moments(until - self.length, until, self.step))


@dataclass(frozen=True, slots=True)
class Grid:
    """`places`: when each bar begins, the oldest first; whole steps since midnight UTC."""

    span: Span
    places: list[datetime]

    @property
    def since(self) -> datetime:
        """The first moment that is in it."""
        return self.places[0]

    @property
    def until(self) -> datetime:
        """The first that is not any more."""
        return self.end_of(self.places[-1])

    def end_of(self, place: datetime) -> datetime:
        """When the next one begins."""
        return place + self.span.step


HOUR = Span("1h", "1 hour", timedelta(hours=1), timedelta(minutes=2), "two minutes")
SPANS = (
    HOUR,
    Span("24h", "24 hours", timedelta(days=1), timedelta(hours=1), "an hour"),
    Span("7d", "7 days", timedelta(days=7), timedelta(hours=6), "six hours"),
    Span("30d", "30 days", timedelta(days=30), timedelta(days=1), "a day"),
)


def span_of(slug: str) -> Span:
    """The day where it is none of them."""
    return next((span for span in SPANS if span.slug == slug), SPANS[1])
