"""Whose fault it was, and so what becomes of the credits that a delivery holds. Pure.

Settled: a target got the delivery, or could have got it and did not. Released: nothing was sent because of us, or
nobody can say what happened. Codes are those of `attempt.Fault` and of the queue's dead reasons, as they are stored.
"""

from enum import StrEnum
from typing import Final

from delivery.breaker import SILENT_FAULTS


class Close(StrEnum):
    """How a hold ends. As in the ledger's column `kind`."""

    SETTLE = "settle"
    RELEASE = "release"


THEIR_FAULTS: Final = SILENT_FAULTS
OUR_FAULTS: Final = frozenset(
    {
        "address_refused",
        "secret_unreadable",
        "bad_url",
        "bad_header",
        "payload_expired",
        "leases_lost",
        "worker_stopped",
        "internal_error",
        "mapping_failed",
        "token_unavailable",
        "client_certificate_unusable",
    }
)
FAULTS_BY_CONTACT: Final = frozenset({"target_deleted"})
"""Ours as long as nothing was ever sent: the target was taken away before its delivery came to it."""

_RELEASED_REASONS: Final = frozenset({"unknown_outcome", "no_answer_in_time", "no_room", "discarded_by_operator"})
_REASONS_BY_CONTACT: Final = frozenset({"expired", "target_deleted", "blocked_key"})


def close_of(state: str, dead_reason: str, fault: str | None, *, was_contacted: bool) -> Close:
    """How the hold of a delivery ends that is over.

    `state`: delivered, dead or discarded. `fault`: of the last attempt, None where it had an answer. `was_contacted`:
    some attempt reached the target.
    """
    if state == "delivered":
        return Close.SETTLE
    if state == "discarded" or dead_reason in _RELEASED_REASONS or fault in OUR_FAULTS:
        return Close.RELEASE
    if dead_reason in _REASONS_BY_CONTACT or fault in FAULTS_BY_CONTACT:
        return Close.SETTLE if was_contacted else Close.RELEASE
    return Close.SETTLE
