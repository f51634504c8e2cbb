"""What an answer means for a delivery. Pure.

2xx is success. A redirect is a failure: it is never followed, since the address behind it was not checked. 410 says
that the target is gone for good (Standard Webhooks). A few statuses say that the same bytes will never be taken.
Everything else, unknown statuses and broken connections included, is tried again. A target's own list (`retry_on`)
takes the place of the last two rules; it says nothing about what failed on our side.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from delivery.attempt import Answer, Fault
from delivery.breaker import SILENT_FAULTS
from relay_contract.intake import DeadReason

PERMANENT_STATUSES = frozenset({400, 401, 403, 404, 405, 413, 415, 422})

DEAD_AT_ONCE = {
    Fault.ADDRESS_REFUSED: DeadReason.ADDRESS_REFUSED,
    Fault.TARGET_DELETED: DeadReason.TARGET_DELETED,
    Fault.PAYLOAD_EXPIRED: DeadReason.PAYLOAD_EXPIRED,
    Fault.LEASES_LOST: DeadReason.ATTEMPTS_EXHAUSTED,
    Fault.EXPIRED: DeadReason.EXPIRED,
    Fault.MAPPING_FAILED: DeadReason.MAPPING_FAILED,
}


@dataclass(frozen=True, slots=True)
class Delivered:
    """The target has it."""


@dataclass(frozen=True, slots=True)
class Again:
    """Failed in a way that time may heal."""


@dataclass(frozen=True, slots=True)
class Dead:
    """To the failure queue."""

    reason: DeadReason


Verdict: TypeAlias = Delivered | Again | Dead


def judge(answer: Answer, retry_on: Collection[str] | None = None) -> Verdict:
    """A fault outweighs the status: an answer that broke off is no answer, even where it began with 200."""
    if answer.fault is not None:
        dead = DEAD_AT_ONCE.get(answer.fault)
        if dead is not None:
            return Dead(dead)
        is_listed = retry_on is None or answer.fault not in SILENT_FAULTS or _word(answer.fault) in retry_on
        return Again() if is_listed else Dead(DeadReason.PERMANENT_FAILURE)
    if answer.status is None:
        raise ValueError("an answer has a status or a fault")
    if 200 <= answer.status <= 299:
        return Delivered()
    if answer.status == 410:
        return Dead(DeadReason.TARGET_GONE)
    return Dead(DeadReason.PERMANENT_FAILURE) if _is_permanent(answer.status, retry_on) else Again()


def _word(fault: Fault) -> str:
    """A target's fault, as lists write it."""
    return "timeout" if fault is Fault.TIMEOUT else "network"


def _is_permanent(status: int, retry_on: Collection[str] | None) -> bool:
    if retry_on is None:
        return status in PERMANENT_STATUSES
    return str(status) not in retry_on and f"{status // 100}xx" not in retry_on
