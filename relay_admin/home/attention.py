"""What needs somebody, as Postgres knows it: each line for who may see it, with the page that clears it.

Costs about a dozen look-ups by index. What grows with trouble, such as the failure queue or calls that wait to be
posted, is counted up to MOST_COUNTED.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import cast

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import formats, timezone

from relay_admin.access.models import User
from relay_admin.catalog.models import Target
from relay_admin.deliveries import selectors
from relay_admin.deliveries.models import AlertEvent, TargetState
from relay_admin.doctor import processes
from relay_admin.doctor.finding import State, some_of
from relay_admin.home.notes import Note, counted, note_of, well, worst_first
from relay_admin.ledger.models import Due, Keeping
from relay_admin.sidebar import failure_count
from relay_admin.traffic.selectors import unpriced_models

LATE_SECONDS = 10
"""A due delivery is taken within a second. One that has waited for so long says that workers are missing or behind."""
POSTED_LATE_SECONDS = 60
"""Calls are posted a moment after they ended; Redis' word on money holds for minutes."""
UNPRICED_HOURS = 24
MOST_COUNTED = 1_000
MOST_NAMED = 5
"""In one line; the list behind it has the rest."""


def notes(request: HttpRequest) -> list[Note]:
    """The worst first; none for who may see nothing of it."""
    user = cast("User", request.user)
    return worst_first(note for permission, look in _LOOKS if user.has_perm(permission) for note in look(request))


def is_late(due_at: datetime | None) -> bool:
    """Whether a delivery that has been due since then should have been taken by now."""
    return due_at is not None and (timezone.now() - due_at).total_seconds() > LATE_SECONDS


def _failures(request: HttpRequest) -> Iterator[Note]:
    url, failures = reverse("admin:deliveries_deaddelivery_changelist"), failure_count(request)
    if failures:
        text = f"{failures} failed {'delivery' if failures == '1' else 'deliveries'} in the failure queue"
        yield Note(State.BROKEN, text, url, "Find out why, then replay or discard them.")
    else:
        yield well("The failure queue is empty.", url)


def _backlog(_request: HttpRequest) -> Iterator[Note]:
    url, due_at = f"{reverse('admin:deliveries_delivery_changelist')}?state=pending", selectors.oldest_due_at()
    if due_at is None or not is_late(due_at):
        yield well("No delivery is overdue.", url)
        return
    due = counted(selectors.due_count(MOST_COUNTED), MOST_COUNTED)
    text = f"The oldest due delivery has waited since {_moment(due_at)}"
    yield Note(State.BROKEN, text, url, f"{due} due: workers are not running, or are behind.")


def _targets(_request: HttpRequest) -> Iterator[Note]:
    url = reverse("admin:catalog_target_changelist")
    left_alone = TargetState.objects.exclude(breaker="closed") | TargetState.objects.filter(
        paused_until__gt=timezone.now()
    )
    ids = left_alone.order_by("target_id").values_list("target_id", flat=True)[:MOST_COUNTED]
    paused = list(Target.objects.filter(pk__in=list(ids), is_enabled=True).select_related("endpoint__line__project"))
    disabled = Target.objects.filter(is_enabled=False).filter(~Q(disabled_reason="") | Q(gone_at__isnull=False))
    stopped = list(disabled.select_related("endpoint__line__project")[:MOST_COUNTED])
    if paused:
        more = "They failed, or asked for a pause; their deliveries wait, and are tried again by themselves."
        yield _of_targets(State.WARNING, paused, "left alone for a while", url, more)
    if stopped:
        more = "Mend what is behind them, then enable them: their deliveries are held."
        yield _of_targets(State.BROKEN, stopped, "disabled by the relay", f"{url}?is_enabled__exact=0", more)
    if not paused and not stopped:
        yield well("Every target's breaker is closed.", url)


def _of_targets(state: State, targets: list[Target], what: str, url: str, more: str) -> Note:
    names = some_of([str(target) for target in targets], MOST_NAMED)
    if len(targets) == 1:
        return Note(state, f"1 target is {what}", reverse("admin:catalog_target_change", args=[targets[0].pk]),
                    f"{names}. {more}")  # fmt: skip
    return Note(state, f"{counted(len(targets), MOST_COUNTED)} targets are {what}", url, f"{names}. {more}")


def _alerts(_request: HttpRequest) -> Iterator[Note]:
    url = reverse("admin:deliveries_alertevent_changelist")
    found = AlertEvent.objects.filter(closed_at=None).select_related("rule").order_by("-opened_at")[:MOST_COUNTED]
    opened = list(found)
    if not opened:
        yield well("No alert is open.", url)
        return
    if len(opened) == 1:
        url = reverse("admin:deliveries_alertevent_change", args=[opened[0].pk])
    kinds = some_of(list(dict.fromkeys(event.rule.get_kind_display() for event in opened)), MOST_NAMED)
    text = "1 alert is open" if len(opened) == 1 else f"{counted(len(opened), MOST_COUNTED)} alerts are open"
    yield Note(State.BROKEN, text, url, f"{kinds}.")


def _unpriced(_request: HttpRequest) -> Iterator[Note]:
    url, since = reverse("admin:traffic_call_changelist"), timezone.now() - timedelta(hours=UNPRICED_HOURS)
    unpriced = unpriced_models(since)
    if not unpriced:
        yield well("Every call of the last day has a price.", url)
        return
    count = sum(calls for _, calls in unpriced)
    text = f"{counted(count, MOST_COUNTED)} call{'' if count == 1 else 's'} nobody can price"
    models = some_of([model for model, _ in unpriced], MOST_NAMED)
    yield Note(State.BROKEN, text, f"{url}?price=unknown", f"Since {_moment(since)}: {models}.")


def _money(_request: HttpRequest) -> Iterator[Note]:
    url, now, kept = reverse("money"), timezone.now(), Keeping.objects.first()
    yield note_of("Prepaid calls", processes.keeper(kept and kept.at, now, kept and kept.closed_since), url)
    waits = list(Due.objects.filter(tries__lt=5).order_by("pk").values_list("not_before", flat=True)[:MOST_COUNTED])
    late = (now - min(waits)).total_seconds() if waits else 0
    if late > POSTED_LATE_SECONDS:
        text = f"{counted(len(waits), MOST_COUNTED)} calls wait to be posted"
        yield Note(State.BROKEN, text, url, f"For {late:.0f} s: wallets show too much. See the log of the workers.")
    else:
        yield well("Every call is posted to the ledger.", url)
    stuck = Due.objects.filter(tries__gte=5)[:MOST_COUNTED].count()
    if stuck:
        text = f"{counted(stuck, MOST_COUNTED)} call{'' if stuck == 1 else 's'} cannot be posted"
        yield Note(State.BROKEN, text, url, "The ledger refused them five times; the log of the workers says why.")


def _moment(at: datetime) -> str:
    return str(formats.localize(timezone.localtime(at)))


_LOOKS: tuple[tuple[str, Callable[[HttpRequest], Iterator[Note]]], ...] = (
    ("deliveries.view_delivery", _failures),
    ("deliveries.view_delivery", _backlog),
    ("deliveries.view_alertevent", _alerts),
    ("catalog.view_target", _targets),
    ("traffic.view_call", _unpriced),
    ("ledger.view_account", _money),
)
"""What one must be allowed to see, and what then is looked at."""
