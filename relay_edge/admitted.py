"""A call's way from candidate to candidate once it is admitted: the picker that asks admission and tells the breakers.

The first candidate is the one that the admission of the call chose; each further one costs one Redis call more. How
every try went is told to the breakers, to the load of this process and, where a host refused our key, to whoever reads
keys that are kept elsewhere.
"""

from collections.abc import Callable, Sequence

from relay_contract.nouns import HostKey
from relay_contract.traffic import FailureClass
from relay_edge.admission import Admission
from relay_edge.call_record import Attempt
from relay_edge.offers import Offer, Offers
from relay_edge.reservation import Reservation
from relay_edge.routing import Candidate
from relay_edge.selection import Load


class Admitted:
    """One call's picker (`picker.py`)."""

    __slots__ = ("_admission", "_load", "_offer", "_offers", "_refused", "_reservation")

    def __init__(
        self,
        admission: Admission,
        reservation: Reservation,
        offer: Offer,
        *,
        offers: Offers,
        load: Load,
        refused: Callable[[HostKey], None],
    ) -> None:
        """`offer`: the one that `reservation` chose. `refused` is told of a host key that its host does not take."""
        self._admission = admission
        self._reservation = reservation
        self._offer = offer
        self._offers = offers
        self._load = load
        self._refused = refused

    def first(self, candidates: Sequence[Candidate]) -> Candidate | None:  # noqa: ARG002  # they were offered
        """The one that admission chose."""
        return self._offer.candidate

    async def next(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """The first that has a closed breaker and something left of its host key's limits."""
        offers = [offer for each in candidates if (offer := self._offers.of(each)) is not None]
        chosen = await self._admission.pick(self._reservation, offers)
        if chosen is None:
            return None
        self._offer = offers[chosen]
        return self._offer.candidate

    def started(self, attempt: Attempt) -> None:
        """A request leaves."""
        self._load.started(attempt.candidate.binding.id)

    def succeeded(self, attempt: Attempt) -> None:
        """The caller has a whole answer."""
        self._admission.breakers.succeeded(self._offer, self._reservation)
        self._load.ended(attempt.candidate.binding.id, _seconds(attempt), False)

    def failed(self, attempt: Attempt, retry_after_ms: int | None) -> None:
        """It did not answer, or what it answered is not for the caller."""
        failure = attempt.failure
        assert failure is not None
        self._admission.breakers.failed(self._offer, failure, retry_after_ms, self._reservation)
        self._load.ended(attempt.candidate.binding.id, None, failure in _SAYS_SLOW)
        if failure is FailureClass.AUTH:
            self._refused(attempt.candidate.key)

    def left(self, attempt: Attempt) -> None:
        """The caller left before the end."""
        self._load.ended(attempt.candidate.binding.id, _seconds(attempt), False)


_SAYS_SLOW = frozenset({FailureClass.OVERLOADED, FailureClass.SERVER, FailureClass.TIMEOUT, FailureClass.NETWORK})
"""Failures that speak of the host's state, and not of our key or of the call."""


def _seconds(attempt: Attempt) -> float | None:
    return None if attempt.first_token is None else attempt.first_token - attempt.started
