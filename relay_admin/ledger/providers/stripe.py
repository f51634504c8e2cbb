"""Stripe: hosted Checkout, and the events of its webhook.

Two calls' worth of an API, so no package: 13 MB of it would stand beside a form post. Read 2026-11:
docs.stripe.com/api/checkout/sessions/create, /api/idempotent_requests, /api/events/types, /webhooks.

Events are written in the API version of the webhook's endpoint, not in ours: what is read here has been the same since
2022-08-01.
"""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from django.conf import settings

from relay_admin.ledger.packs import Pack
from relay_admin.ledger.providers.base import Checkout, Event, EventForgedError, EventKind, Order, ProviderError
from relay_contract.inbound_signatures import Verdict, verify
from relay_contract.nouns import KeyMode, SignatureConfig

API_VERSION = "2024-11-20.acacia"
TIMEOUT_SECONDS = 20.0
MAX_ANSWER_BYTES = 262_144
MARK = "relay_top_up"
"""In the metadata of the checkout and of its payment: which of our top-ups it is."""

_SESSION_KINDS = {
    "checkout.session.completed": EventKind.PAID,
    "checkout.session.async_payment_succeeded": EventKind.PAID,
    "checkout.session.async_payment_failed": EventKind.FAILED,
    "checkout.session.expired": EventKind.FAILED,
}
_DISPUTE_KINDS = {
    # Not `created`: an inquiry is one too, and takes no money.
    "charge.dispute.funds_withdrawn": EventKind.DISPUTED,
    "charge.dispute.funds_reinstated": EventKind.REINSTATED,
}


class Stripe:
    """A `Provider`."""

    name = "stripe"

    def __init__(self, secret_key: str, webhook_secret: str, url: str) -> None:
        self._secret_key, self._webhook_secret, self._url = secret_key, webhook_secret, url
        self.mode = KeyMode.LIVE if "_live_" in secret_key else KeyMode.TEST

    def begin(self, order: Order) -> Checkout:
        """A Checkout session, which lives for a day. One a source: Stripe answers the same again."""
        status, answer = self._post("/v1/checkout/sessions", _session_form(order), str(order.source))
        document = _object(answer)
        if status != 200:
            said = _object_in(document, "error").get("message")
            raise ProviderError(f"Stripe refused the checkout with {status}: {str(said)[:300]}")
        reference, url = document.get("id"), document.get("url")
        if not (isinstance(reference, str) and reference and isinstance(url, str) and url.startswith("https://")):
            raise ProviderError("Stripe's answer is no checkout.")
        return Checkout(reference, url)

    def read(self, headers: Mapping[str, str], body: bytes, now: float) -> Event | None:
        """Signed by the preset `stripe`, within 300 s."""
        verdict = verify("stripe", SignatureConfig(), [self._webhook_secret], headers, body, url="", now=now)
        if verdict is not Verdict.OK:
            raise EventForgedError(verdict.value)
        event = _object(body)
        kind, is_live = event.get("type"), event.get("livemode") is True
        thing = _object_in(_object_in(event, "data"), "object")
        if not isinstance(kind, str):
            raise ProviderError("The event has no type.")
        event_id = _text(event, "id")
        if kind in _SESSION_KINDS:
            return _of_session(event_id, _SESSION_KINDS[kind], thing, is_live)
        if kind in _DISPUTE_KINDS:
            return _of_charge(event_id, _DISPUTE_KINDS[kind], thing, is_live, "amount")
        if kind == "charge.refunded":
            return _of_charge(event_id, EventKind.REFUNDED, thing, is_live, "amount_refunded")
        return None

    def _post(self, path: str, form: dict[str, str], key: str) -> tuple[int, bytes]:
        parts = urlsplit(self._url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        headers = {
            "Authorization": f"Bearer {self._secret_key}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Idempotency-Key": key,
            "Stripe-Version": API_VERSION,
        }
        try:
            connection.request("POST", path, urlencode(form).encode(), headers)
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, HTTPException) as error:
            raise ProviderError(f"Stripe cannot be reached: {type(error).__name__}.") from error
        finally:
            connection.close()
        if len(answer) > MAX_ANSWER_BYTES:
            raise ProviderError("Stripe's answer is larger than a checkout is.")
        return response.status, answer


def provider() -> Stripe | None:
    """None where it is off: nothing of it is shown, and its addresses are none."""
    if not settings.STRIPE_SECRET_KEY:
        return None
    return Stripe(settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET, settings.STRIPE_URL)


def packs() -> tuple[Pack, ...]:
    """What is sold: nothing where payments are off."""
    found: tuple[Pack, ...] = settings.CREDIT_PACKS if settings.STRIPE_SECRET_KEY else ()
    return found


def _session_form(order: Order) -> dict[str, str]:
    item = "line_items[0]"
    return {
        "mode": "payment",
        "client_reference_id": str(order.source),
        "success_url": order.return_url,
        "cancel_url": order.return_url,
        # Else Stripe may sell in the buyer's currency, and tell of an amount that is not ours.
        "adaptive_pricing[enabled]": "false",
        f"{item}[quantity]": "1",
        f"{item}[price_data][currency]": order.currency,
        f"{item}[price_data][unit_amount]": str(order.price_minor),
        f"{item}[price_data][product_data][name]": order.name,
        f"metadata[{MARK}]": str(order.source),
        f"payment_intent_data[metadata][{MARK}]": str(order.source),
    }


def _of_session(event_id: str, kind: EventKind, session: dict[str, Any], is_live: bool) -> Event | None:
    """None for a checkout of somebody else with this account, and for one whose money is still on its way."""
    top_up = _mark(session)
    if top_up is None or (kind is EventKind.PAID and session.get("payment_status") != "paid"):
        return None
    payment = _text(session, "payment_intent") if kind is EventKind.PAID else ""
    amount = _number(session, "amount_total")
    return Event(
        "stripe", event_id, kind, top_up, _text(session, "id"), payment, amount, _text(session, "currency"), is_live
    )


def _of_charge(event_id: str, kind: EventKind, thing: dict[str, Any], is_live: bool, amount: str) -> Event | None:
    """None for what was paid without a checkout. A dispute does not say whose it is: its payment does."""
    if thing.get("payment_intent") is None:
        return None
    price, currency = _number(thing, amount), _text(thing, "currency")
    return Event("stripe", event_id, kind, _mark(thing), "", _text(thing, "payment_intent"), price, currency, is_live)


def _mark(thing: dict[str, Any]) -> UUID | None:
    metadata = thing.get("metadata")
    found = metadata.get(MARK) if isinstance(metadata, dict) else None
    try:
        return UUID(found) if isinstance(found, str) else None
    except ValueError:
        return None


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ProviderError("What Stripe sent is no JSON.") from None
    if not isinstance(document, dict):
        raise ProviderError("What Stripe sent is no object.")
    return document


def _object_in(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _text(document: dict[str, Any], name: str) -> str:
    found = document.get(name)
    if isinstance(found, str) and 0 < len(found) <= 255 and "\x00" not in found:
        return found
    raise ProviderError(f"Stripe's event has no `{name}`.")


def _number(document: dict[str, Any], name: str) -> int:
    found = document.get(name)
    if type(found) is int and 0 <= found < 2**53:
        return found
    raise ProviderError(f"Stripe's event has no `{name}`.")
