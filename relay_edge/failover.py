"""Who is tried after what has failed, and which failure the caller is told of. Pure.

| a try came to | the next one |
|---|---|
| auth, quota, rate limit | another key of the host, then another host |
| server: 5xx, garbage | another key of the host, or its one key once more, then another host |
| overloaded, network | another host, another key of the host; after a network failure the same key once more |
| timeout | another host; never the one that was silent |
| context length, content filter | never the same model: a fallback that is there for it |
| caller | nobody: it is the caller's answer. At a fallback: the next fallback |
| nothing was sent: the call cannot be told in the host's words | another host |

A fallback model is tried when what has happened so far is among its conditions. Each try uses a candidate up (its
second use is its last), and there are at most MAX_TRIES, so that every call comes to its end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from relay_contract.errors import RelayError, UpstreamTimeout
from relay_contract.nouns import FallbackCondition
from relay_contract.traffic import FailureClass
from relay_edge.routing import Candidate, Leg, Plan

MAX_TRIES = 5
MAX_TRIES_OF_A_MODEL = 3

MAX_WAIT_SECONDS = 2.5
"""A host that wants to be asked again this soon is waited for rather than left for another model, once a call."""

_ABOUT_THE_CALL = frozenset({FailureClass.CONTEXT_LENGTH, FailureClass.CONTENT_FILTER, FailureClass.CALLER})
_ABOUT_OUR_KEY = frozenset({FailureClass.AUTH, FailureClass.QUOTA})
_ABOUT_THE_HOST = frozenset({FailureClass.OVERLOADED, FailureClass.NETWORK})
_MAY_PASS = frozenset({FailureClass.SERVER, FailureClass.NETWORK})
"""What a second try at the same place often does not see again."""

_ASKS_FOR_PATIENCE = frozenset({FailureClass.RATE_LIMIT, FailureClass.OVERLOADED})

_CONDITIONS = {
    FailureClass.CONTEXT_LENGTH: FallbackCondition.CONTEXT_LENGTH,
    FailureClass.CONTENT_FILTER: FallbackCondition.CONTENT_FILTER,
}


@dataclass(frozen=True, slots=True)
class Tried:
    """A try that failed before anything reached the caller. `failure` None: the host has no words for the call."""

    candidate: Candidate
    failure: FailureClass | None
    error: RelayError
    is_sent: bool = True  # False: no request could be made of it
    retry_after_ms: int | None = None


T = TypeVar("T", bound=Tried)


def followers(plan: Plan, tried: Sequence[Tried]) -> Sequence[Candidate]:
    """Who may be tried now, best first; nobody where the call is over. Of one model at a time, the fallbacks last."""
    if not tried and len(plan.legs) == 1:
        return plan.legs[0].candidates
    if _count_sent(tried) >= MAX_TRIES or _is_answered(plan, tried):
        return ()
    happened = _conditions(tried)
    legs = [leg for place, leg in enumerate(plan.legs) if place == 0 or leg.when & happened]
    return [candidate for leg in legs for candidate in _of_leg(leg, tried)]


def is_last_hope(plan: Plan, tried: Sequence[Tried], candidate: Candidate) -> bool:
    """Whether nobody would be left if this candidate stayed silent. One of a plan without fallbacks and with one host
    is found out without making a list."""
    first = plan.legs[0]
    if not tried and all(other.host.id == candidate.host.id for other in first.candidates):
        return not any(FallbackCondition.ANY_FAILURE in leg.when for leg in plan.legs)
    silent = Tried(candidate, FailureClass.TIMEOUT, UpstreamTimeout())
    return not followers(plan, (*tried, silent))


def is_the_call_at_fault(tried: Tried) -> bool:
    """Whether what failed is the call, and not a host or a key."""
    return tried.failure in _ABOUT_THE_CALL


def is_our_key_at_fault(failure: FailureClass | None) -> bool:
    """Whether the host speaks of our key or account: such an answer never reaches a caller."""
    return failure in _ABOUT_OUR_KEY


def worth_waiting_for(plan: Plan, tried: Sequence[Tried]) -> tuple[Candidate, float] | None:
    """A candidate of the model asked for that wants to be asked again so soon that it is waited for, and the seconds.

    To be asked when nobody of that model is left.
    """
    first = plan.legs[0]
    mine = [each for each in tried if each.candidate.model.id == first.model.id]
    if _count_sent(mine) >= MAX_TRIES_OF_A_MODEL or any(map(is_the_call_at_fault, mine)):
        return None
    waits = [
        (each.retry_after_ms / 1000, place)
        for place, each in enumerate(mine)
        if each.retry_after_ms is not None
        and each.failure in _ASKS_FOR_PATIENCE
        and each.retry_after_ms <= MAX_WAIT_SECONDS * 1000
        and sum(other.candidate is each.candidate for other in tried) == 1
    ]
    if not waits:
        return None
    seconds, place = min(waits)
    return mine[place].candidate, seconds


def reported(plan: Plan, tried: Sequence[T]) -> T:
    """The failure that the caller is told of when nobody is left: the first of those that say most.

    What the model asked for says of the call comes first; then what failed at a host; then our own keys. That a
    fallback did not take the call, or that a host has no words for it, never hides why the others failed.
    """
    asked = plan.legs[0].model.id
    return min(tried, key=lambda each: _rank(each, each.candidate.model.id == asked))


def shortest_wait_ms(tried: Iterable[Tried]) -> int | None:
    """When the first of them wants to be asked again; None: nobody says."""
    return min((each.retry_after_ms for each in tried if each.retry_after_ms is not None), default=None)


def _rank(tried: Tried, is_model_asked_for: bool) -> int:
    if tried.failure is None:
        return 4
    if tried.failure in _ABOUT_THE_CALL:
        return 0 if is_model_asked_for else 3
    return 2 if tried.failure in _ABOUT_OUR_KEY else 1


def _is_answered(plan: Plan, tried: Sequence[Tried]) -> bool:
    """Whether the model asked for has said that the caller is at fault."""
    asked = plan.legs[0].model.id
    return any(each.failure is FailureClass.CALLER and each.candidate.model.id == asked for each in tried)


def _conditions(tried: Sequence[Tried]) -> set[FallbackCondition]:
    """What has happened so far. Before the first try a fallback may stand in as for any failure: its turn only comes
    where every candidate of the model is known to be down."""
    if not tried:
        return {FallbackCondition.ANY_FAILURE}
    return {
        _CONDITIONS.get(each.failure, FallbackCondition.ANY_FAILURE)
        for each in tried
        if each.failure is not None and each.failure is not FailureClass.CALLER
    }


def _of_leg(leg: Leg, tried: Sequence[Tried]) -> list[Candidate]:
    mine = [each for each in tried if each.candidate.model.id == leg.model.id]
    if _count_sent(mine) >= MAX_TRIES_OF_A_MODEL or any(map(is_the_call_at_fault, mine)):
        return []
    refused_keys = {each.candidate.key.id for each in tried if is_our_key_at_fault(each.failure)}
    silent_hosts = {each.candidate.host.id for each in mine if each.failure is FailureClass.TIMEOUT}
    left = [
        candidate
        for candidate in leg.candidates
        if candidate.key.id not in refused_keys
        and candidate.host.id not in silent_hosts
        and (not _was_tried(candidate, mine) or _may_be_repeated(candidate, leg, mine))
    ]
    troubled_hosts = {each.candidate.host.id for each in mine if each.failure in _ABOUT_THE_HOST}
    left.sort(key=lambda candidate: candidate.host.id in troubled_hosts)
    return left


def _was_tried(candidate: Candidate, mine: Sequence[Tried]) -> bool:
    """With its key, or, where nothing was sent, itself: the key may work in another shape."""
    return any(
        each.candidate is candidate or (each.is_sent and each.candidate.key.id == candidate.key.id) for each in mine
    )


def _may_be_repeated(candidate: Candidate, leg: Leg, mine: Sequence[Tried]) -> bool:
    """Whether the only try at a host was of a kind that may pass, and the host has no other key to try instead."""
    at_host = [
        each
        for each in mine
        if each.candidate.host.id == candidate.host.id and (each.is_sent or each.candidate is candidate)
    ]
    return (
        len(at_host) == 1
        and at_host[0].candidate is candidate
        and at_host[0].failure in _MAY_PASS
        and not any(other.host.id == candidate.host.id and not _was_tried(other, mine) for other in leg.candidates)
    )


def _count_sent(tried: Iterable[Tried]) -> int:
    return sum(each.is_sent for each in tried)
