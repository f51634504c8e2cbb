"""Who pays for a delivery that is over. Pure.

What the target got, refused or failed is settled; what failed on our side is released. Where a target may have been
called before, the delivery's own row knows it.
"""

from delivery.attempt import Answer, Fault

SETTLE, RELEASE = "settle", "release"  # ledger.ChargeKind
BY_CONTACT = ""
"""Settled if the target may ever have been called, else released."""

_OURS = frozenset(
    {
        Fault.ADDRESS_REFUSED,
        Fault.BAD_URL,
        Fault.BAD_HEADER,
        Fault.SECRET_UNREADABLE,
        Fault.PAYLOAD_EXPIRED,
        Fault.LEASES_LOST,
        Fault.WORKER_STOPPED,
        Fault.MAPPING_FAILED,
        Fault.TOKEN_UNAVAILABLE,
        Fault.CLIENT_CERTIFICATE_UNUSABLE,
        Fault.INTERNAL_ERROR,
    }
)
_NOT_CALLED = _OURS | {Fault.TARGET_DELETED, Fault.DNS_FAILURE, Fault.CONNECTION_REFUSED, Fault.CONNECT_FAILED}


def is_contact(answer: Answer) -> bool:
    """Whether the target may have seen this attempt."""
    return answer.status is not None or answer.fault not in _NOT_CALLED


def closes_as(answer: Answer) -> str:
    """What the last answer of a delivery does to the credits that it holds: SETTLE, RELEASE or BY_CONTACT."""
    if answer.fault is Fault.TARGET_DELETED:
        return BY_CONTACT
    return RELEASE if answer.fault in _OURS else SETTLE
