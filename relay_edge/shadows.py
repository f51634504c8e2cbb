"""Which calls a shadow gets a copy of, and whose answers are compared. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from relay_contract.nouns import MAX_SAMPLE_PERMYRIAD, Target, TargetRole

NOBODY: Final[frozenset[str]] = frozenset()


def is_sampled(target: Target, request_id: UUID) -> bool:
    """Whether the target gets this call: live ones get each; of shadows all with the same share get the same calls.

    By the id's last 32 bits, which are random, so that anybody can tell afterwards.
    """
    if target.role is TargetRole.LIVE:
        return True
    return int.from_bytes(request_id.bytes[-4:]) % MAX_SAMPLE_PERMYRIAD < target.sample_permyriad


def compared(chosen: Sequence[Target]) -> frozenset[str]:
    """Names of those targets, shadows and the ones that they are held against, whose answers to a call are kept. A
    shadow whose sibling does not get the call is compared with nothing."""
    shadows = [target for target in chosen if target.role is TargetRole.SHADOW and target.compares_with]
    if not shadows:
        return NOBODY
    live = _names(target for target in chosen if target.role is TargetRole.LIVE)
    pairs = [shadow for shadow in shadows if shadow.compares_with in live]
    return _names(pairs) | {shadow.compares_with for shadow in pairs}


def _names(targets: Iterable[Target]) -> frozenset[str]:
    return frozenset(target.name for target in targets)
