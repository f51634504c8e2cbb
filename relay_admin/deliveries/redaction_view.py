"""What people may see of a request's content, by the rules of its endpoint. One place for pages, API and curl."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from django.conf import settings

from relay_admin.catalog.models import Endpoint
from relay_admin.deliveries.curl import CurlCommand, as_curl
from relay_admin.deliveries.models import Payload, Request
from relay_contract.headers import HOPS
from relay_contract.redaction import Redaction

MAX_REDACTED_BYTES = 1024 * 1024
"""A larger body is not shown: taking its secrets out would take longer than a page may."""


@dataclass(frozen=True)
class ShownContent:
    """A request with its secrets taken out. Reads its payload once, when it is asked for."""

    request: Request
    redaction: Redaction

    @cached_property
    def headers(self) -> dict[str, str]:
        """Those that travel on."""
        return self.redaction.headers({str(name): str(value) for name, value in self.request.headers.items()})

    @cached_property
    def query(self) -> str:
        """Without its `?`."""
        return self.redaction.query(self.request.query)

    @cached_property
    def body(self) -> bytes | None:
        """None where there is none to be shown; `body_note` says why."""
        if self.body_note:
            return None
        found = Payload.objects.filter(request_id=self.request.pk).values_list("body", flat=True).first()
        return None if found is None else self.redaction.body(self.request.content_type, bytes(found))

    @property
    def body_note(self) -> str:
        """Why a body that there was is not shown, as far as its size and status tell."""
        if self.request.body_bytes > MAX_REDACTED_BYTES:
            return f"Too large to be shown: {self.request.body_bytes:,} bytes."
        if self.request.error and not self.request.target_count:
            return "The body of a refused call is not kept."
        return ""

    @cached_property
    def curl(self) -> CurlCommand | None:
        """The call again; None where its body is not there any more."""
        if self.body is None and self.request.body_bytes:
            return None
        query = f"?{self.query}" if self.query else ""
        headers = {"content-type": self.request.content_type} if self.request.content_type else {}
        sent = {name: value for name, value in self.headers.items() if name.lower() != HOPS}
        return as_curl(
            self.request.method,
            f"{settings.EDGE_URL}{self.request.path}{query}",
            headers | sent,
            self.body or b"",
            has_key=self.request.relay_key_id is not None,
        )


def shown_content(request: Request) -> ShownContent:
    """By the endpoint's rules as they are now. Of a deleted endpoint they are gone: what looks like a secret is not."""
    return ShownContent(request, Redaction(_rules(request.endpoint_id)))


def _rules(endpoint_id: int | None) -> Sequence[str]:
    found = Endpoint.objects.filter(pk=endpoint_id).values_list("redactions", flat=True).first()
    return found or ()
