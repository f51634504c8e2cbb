"""What a payment provider does for us: take a payment on a page of its own, and tell what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from relay_contract.nouns import KeyMode


class EventKind(StrEnum):
    """What became of a payment."""

    PAID = "paid"
    FAILED = "failed"  # it was given up, or ran out of time
    REFUNDED = "refunded"  # `price_minor` is all that was refunded of it so far
    DISPUTED = "disputed"  # the bank took the money back
    REINSTATED = "reinstated"  # and gave it again


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a provider tells. `top_up` is the source of ours, None where the provider does not say it."""

    provider: str
    event_id: str
    kind: EventKind
    top_up: UUID | None
    reference: str
    payment: str
    price_minor: int
    currency: str
    is_live: bool


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid for. `source` is the top-up's: the same one twice is one order."""

    source: UUID
    name: str
    price_minor: int
    currency: str
    return_url: str


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where it is paid: the provider's name of it, and the page that whoever pays is sent to."""

    reference: str
    url: str


class ProviderError(Exception):
    """The provider could not be asked, or refused. The text is for operators and holds no secret."""


class EventForgedError(Exception):
    """This was not sent by the provider, or too long ago."""


class Provider(Protocol):
    """One of them."""

    name: str
    mode: KeyMode
    """Whose money its keys move: live or test."""

    def begin(self, order: Order) -> Checkout:
        """Raises ProviderError. May be sent again."""

    def read(self, headers: Mapping[str, str], body: bytes, now: float) -> Event | None:
        """What a webhook's body says; None for what is none of ours. Raises EventForgedError, ProviderError for what
        cannot be read although the provider signed it."""
