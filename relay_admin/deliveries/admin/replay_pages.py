"""The page before a replay: what it would make due, what that costs, what would stay and why; and how fast to go."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import formats, timezone
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from relay_admin import pages
from relay_admin.deliveries import services
from relay_admin.deliveries.models import DEAD_REASONS, ReplayBatch
from relay_admin.deliveries.replays import MAX_COUNTED, Preview
from relay_contract.credits import MICRO

ANY = ("", "any")


class PaceForm(forms.Form):
    """How fast, and why."""

    pace = forms.DecimalField(
        label="Pace",
        required=False,
        min_value=services.MIN_PACE,
        max_value=services.MAX_PACE,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Deliveries a second. Empty: all at once.",
    )
    note = forms.CharField(
        label="Note",
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Kept with the replay: what was mended, for example.",
    )


class FilterForm(forms.Form):
    """Which of the failure queue. Members are those of a batch's filter; it stands in the address."""

    project = forms.TypedChoiceField(required=False, coerce=int, widget=UnfoldAdminSelectWidget)
    target = forms.TypedChoiceField(required=False, coerce=int, widget=UnfoldAdminSelectWidget)
    reason = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    status = forms.IntegerField(
        label="Last status", required=False, min_value=100, max_value=599, widget=UnfoldAdminIntegerFieldWidget
    )
    event_type = forms.CharField(label="Event type", required=False, max_length=128, widget=UnfoldAdminTextInputWidget)
    since = forms.DateTimeField(label="Failed since", required=False, widget=UnfoldAdminTextInputWidget)
    until = forms.DateTimeField(label="Failed before", required=False, widget=UnfoldAdminTextInputWidget)

    def __init__(self, data: Any, *, projects: Iterable[tuple[str, str]], targets: Iterable[tuple[str, str]]) -> None:
        super().__init__(data)
        choices = {
            "project": projects,
            "target": targets,
            "reason": [(str(value), label) for value, label in DEAD_REASONS.items()],
        }
        for name, offered in choices.items():
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [ANY, *offered]

    @property
    def wanted(self) -> dict[str, Any]:
        """The filter, of a valid form."""
        return {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}


def ask(
    request: HttpRequest,
    model_admin: admin.ModelAdmin,
    *,
    wanted: Mapping[str, Any] | None,
    text: str,
    hidden: Iterable[tuple[str, str]] = (),
    rows: Iterable[object] = (),
    more: int = 0,
    filter_form: FilterForm | None = None,
    pace_form: PaceForm | None = None,
) -> HttpResponse:
    """The page. A POST of it comes to the same address, with `hidden`, a pace and a note. `wanted` None: the filter is
    wrong, and its form says how."""
    found = services.replay_preview(wanted) if wanted is not None else None
    is_filter = filter_form is not None
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Replay deliveries",
        "page_title": "Replay deliveries",
        "opts": model_admin.model._meta,
        "media": model_admin.media,
        "text": text,
        "facts": facts(found) if found else [],
        "staying": staying(found) if found else [],
        "found": found,
        "back": pages.page_before(request),
        "rows": list(rows),
        "more": more,
        "hidden": [*hidden, ("confirmed", "yes")],
        "filter_form": filter_form,
        "pace_form": pace_form or PaceForm(initial={"pace": services.DEFAULT_PACE if is_filter else None}),
    }
    return TemplateResponse(request, "relay/replay.html", context)


def facts(found: Preview) -> list[tuple[str, str]]:
    """What would be made due."""
    more = f" and more than {MAX_COUNTED:,} in all" if found.is_more else ""
    shown = [("made due", f"{found.replayable:,}{more}"), ("credits held", credits_text(found.credits))]
    if found.oldest and found.newest:
        shown += [("oldest failed", _moment(found.oldest)), ("newest failed", _moment(found.newest))]
    words = {str(reason): text for reason, text in DEAD_REASONS.items()}
    return [*shown, *((words.get(reason, reason), f"{count:,}") for reason, count in found.by_reason.items())]


def staying(found: Preview) -> list[str]:
    """What would stay, and why."""
    return [f"{count:,}: {services.REFUSALS[code]}" for code, count in sorted(found.by_refusal.items())]


def credits_text(micro_credits: int) -> str:
    """For people: without the zeros of a whole number."""
    return f"{Decimal(micro_credits) / MICRO:,.6f}".rstrip("0").rstrip(".")


def filter_texts(batch: ReplayBatch) -> list[tuple[str, str]]:
    """What a batch was asked for, as name and value."""
    if "ids" in batch.filter:
        return [("deliveries named", f"{len(batch.filter['ids']):,}")]
    return [(name.replace("_", " "), str(value)) for name, value in batch.filter.items()] or [
        ("whole failure queue", "yes")
    ]


def _moment(moment: Any) -> str:
    return str(formats.localize(timezone.localtime(moment)))
