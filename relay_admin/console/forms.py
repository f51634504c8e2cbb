"""What somebody may ask of the test console: a chat with a model, or a call to an endpoint."""

import json
import re
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from relay_admin.access.models import RelayKey
from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, rows_of
from relay_admin.access.stand_ins import stand_in_refusal
from relay_admin.console.call import Asked
from relay_admin.deliveries.models import Request
from relay_admin.resolve_page import RelayKeySelect
from relay_contract import headers
from relay_contract.nouns import ENDPOINT_METHODS, Scope

MAX_BODY_BYTES = 256 * 1024
MAX_HEADERS = 20
MAX_HEADER_LENGTH = 4096
CHAT, ENDPOINT = "chat", "endpoint"
CHAT_PATH = "/v1/chat/completions"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_ADDRESS = re.compile(r"[a-z0-9-]{1,63}/[A-Za-z0-9._-]{1,63}/[A-Za-z0-9._-]{1,63}(?:\?[!-~]{0,2000})?")
_OURS = headers.HOP_BY_HOP | headers.CREDENTIALS | {
    "host", "content-length", "expect", "accept-encoding", headers.REQUEST_ID, headers.HOPS,
}  # fmt: skip
"""Of the connection, of the stand-in, or of the link to the log."""


class ConsoleForm(forms.Form):
    """One call. The halves of the two kinds are both there; `clean` asks for the one that is meant."""

    relay_key = forms.ModelChoiceField(
        RelayKey.objects.none(),
        widget=RelayKeySelect(Request._meta.get_field("relay_key"), admin.site),
        help_text="Whose call it is: its project, policy, limits and budget.",
    )
    kind = forms.ChoiceField(
        choices=[(CHAT, "A chat with a model"), (ENDPOINT, "A call to an endpoint")],
        widget=forms.RadioSelect,
        initial=CHAT,
        label="What to send",
    )
    model = forms.CharField(
        max_length=128,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "relay-models", "autocomplete": "off"}),
        help_text="As callers write it: a model's name or an alias.",
    )
    message = forms.CharField(
        max_length=MAX_BODY_BYTES // 4,
        required=False,
        initial="Say hello in one sentence.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
    )
    stream = forms.BooleanField(
        required=False, initial=True, label="Stream the answer", widget=UnfoldBooleanSwitchWidget
    )
    endpoint = forms.CharField(
        max_length=2200,
        required=False,
        widget=UnfoldAdminTextInputWidget(
            attrs={"list": "relay-endpoints", "autocomplete": "off", "placeholder": "project/line/endpoint"}
        ),
        help_text="Of the key's project, with a query if you like.",
    )
    method = forms.ChoiceField(
        choices=[(method, method) for method in ENDPOINT_METHODS],
        initial="POST",
        widget=UnfoldAdminSelectWidget,
    )
    headers = forms.CharField(
        max_length=MAX_HEADERS * MAX_HEADER_LENGTH,
        required=False,
        initial="Content-Type: application/json",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One on a line, as name: value.",
    )
    body = forms.CharField(
        max_length=MAX_BODY_BYTES,
        required=False,
        strip=False,
        initial='{"type": "order.created", "id": 42}',
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5, "spellcheck": "false"}),
    )

    def __init__(self, actor: Actor, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        keys = rows_of(RelayKey, actor, Act.MANAGE_KEYS).select_related("project")
        self.fields["relay_key"].queryset = keys  # type: ignore[attr-defined]  # of a ModelChoiceField

    @property
    def scope(self) -> Scope:
        """What the key needs for it."""
        return Scope.INFERENCE if self.cleaned_data["kind"] == CHAT else Scope.RELAY

    def clean_headers(self) -> tuple[tuple[str, str], ...]:
        """Pairs."""
        lines = [line for line in self.cleaned_data["headers"].splitlines() if line.strip()]
        if len(lines) > MAX_HEADERS:
            raise ValidationError(f"At most {MAX_HEADERS} headers.")
        return tuple(_header(line) for line in lines)

    def clean(self) -> dict[str, Any]:
        """What the kind needs, and a key that may be stood in for."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        key, kind = cleaned.get("relay_key"), cleaned.get("kind")
        if kind == CHAT:
            self._need("model", "message")
        elif kind == ENDPOINT:
            self._check_endpoint(key)
        if key is not None and kind and (refusal := stand_in_refusal(key, self.scope, timezone.now())):
            self.add_error("relay_key", refusal)
        return cleaned

    def asked(self) -> Asked:
        """Of a valid form."""
        cleaned = self.cleaned_data
        if cleaned["kind"] == CHAT:
            turns = [{"role": "user", "content": cleaned["message"]}]
            document = {"model": cleaned["model"], "messages": turns, "stream": cleaned["stream"]}
            lines = (("Content-Type", "application/json"), (headers.TAGS, f"{headers.TRACE_TAG}=console"))
            return Asked("POST", CHAT_PATH, lines, json.dumps(document).encode())
        body = cleaned["body"].replace("\r\n", "\n").encode("utf-8", "replace")  # of browsers, not of who wrote it
        return Asked(cleaned["method"], f"/r/{cleaned['endpoint']}", cleaned["headers"], body)

    def _need(self, *names: str) -> None:
        for name in names:
            if name not in self.errors and not self.cleaned_data.get(name):
                self.add_error(name, "This is needed.")

    def _check_endpoint(self, key: RelayKey | None) -> None:
        self._need("endpoint")
        address = self.cleaned_data.get("endpoint") or ""
        if address and not _ADDRESS.fullmatch(address):
            self.add_error("endpoint", "An address is project/line/endpoint, and perhaps ?name=value.")
        elif address and key is not None and address.partition("/")[0] != key.project.slug:
            self.add_error("endpoint", f"The key is of the project {key.project.slug}, and calls its endpoints only.")


def _header(line: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in line.partition(":"))
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value) or len(line) > MAX_HEADER_LENGTH:
        raise ValidationError(f"This is no header: {line[:60]}")
    if name.lower() in _OURS:
        raise ValidationError(f"{name} is the console's own to send.")
    return name, value
