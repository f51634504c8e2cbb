"""Badges and previews of the traffic pages. Everything that came from outside is escaped by `format_html`."""

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from relay_admin.deliveries.models import Attempt
from relay_admin.deliveries.preview import preview
from relay_contract.redaction import Redaction

register = template.Library()

STATE_COLOURS = {
    "pending": "info",
    "sending": "warning",
    "waiting": "info",
    "held": "warning",
    "delivered": "success",
    "dead": "danger",
    "discarded": "info",
}
OUTCOME_COLOURS = {"delivered": "success", "retry": "warning", "dead": "danger", "lease_lost": "info"}
_CLASSES = {
    "info": "bg-blue-100 text-blue-700 dark:bg-blue-500/20 dark:text-blue-400",
    "danger": "bg-red-100 text-red-700 dark:bg-red-500/20 dark:text-red-400",
    "warning": "bg-orange-100 text-orange-700 dark:bg-orange-500/20 dark:text-orange-400",
    "success": "bg-green-100 text-green-700 dark:bg-green-500/20 dark:text-green-400",
}


def _badge(text: str, colour: str) -> SafeString:
    return format_html(
        '<span class="inline-block font-semibold h-6 leading-6 px-2 rounded-default text-[11px] uppercase'
        ' whitespace-nowrap {}">{}</span>',
        _CLASSES[colour],
        text,
    )


@register.simple_tag
def keyset_urls(changes: Any) -> dict[str, str]:
    """Of a list that is read by `admin.keyset`: the addresses of its first page and of what is older."""
    rows = list(changes.result_list)
    is_whole = len(rows) == changes.paginator.per_page
    # By None and not by `remove`, which takes every parameter that begins so: with "p" went "project".
    newest = changes.get_query_string({"before": None, "p": None}) if changes.params.get("before") else ""
    place = getattr(rows[-1], "place", rows[-1].pk) if is_whole else None
    return {"newest": newest, "older": changes.get_query_string({"before": place, "p": None}) if is_whole else ""}


@register.simple_tag
def state_badge(state: str) -> SafeString:
    """A delivery's state in its colour."""
    return _badge(state, STATE_COLOURS.get(state, "info"))


@register.simple_tag
def tone_badge(text: str, colour: str) -> SafeString:
    """Words in a colour: info, success, warning or danger."""
    return _badge(text, colour)


@register.simple_tag
def outcome_badge(attempt: Attempt) -> SafeString:
    """What an attempt came to."""
    return _badge(attempt.outcome, OUTCOME_COLOURS.get(attempt.outcome, "info"))


@register.simple_tag
def answer_preview(attempt: Attempt) -> SafeString:
    """The start of a target's answer, without what looks like a secret."""
    return bytes_preview(Redaction().body("", bytes(attempt.response_body)), attempt.is_response_cut)


@register.simple_tag
def bytes_preview(body: bytes | memoryview, is_cut: bool = False) -> SafeString:
    """The start of a body, escaped, with what is missing said."""
    raw = bytes(body)
    shown = preview(raw)
    note = ""
    if is_cut or shown.shown_bytes < len(raw):
        note = f"The first {shown.shown_bytes} bytes, as {shown.kind}."
    elif shown.kind == "hex":
        note = "Not text, so shown as hex."
    return format_html('<pre class="relay-preview">{}</pre><span class="relay-quiet">{}</span>', shown.text, note)
