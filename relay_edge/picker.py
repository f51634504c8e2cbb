"""Which of the candidates that may be tried is tried: the seam to whoever knows how they fare. No I/O here.

`failover.followers` says who may be tried and in which order; a picker chooses among them, and is told what came of it.
"""

from collections.abc import Sequence
from typing import Protocol

from relay_contract.traffic import FailureClass
from relay_edge.routing import Candidate


class Picker(Protocol):
    """One call's. None: none of them may be tried now."""

    def first(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """Without a wait: what the admission of the call chose."""

    async def next(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """After a failure."""

    def succeeded(self, candidate: Candidate) -> None:
        """It gave a whole answer."""

    def failed(self, candidate: Candidate, failure: FailureClass, retry_after_ms: int | None) -> None:
        """It did not. `retry_after_ms`: when it wants to be asked again; None: it does not say."""


class BestFirst:
    """Believes the order and remembers nothing."""

    def first(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """The best."""
        return candidates[0] if candidates else None

    async def next(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """The best."""
        return candidates[0] if candidates else None

    def succeeded(self, candidate: Candidate) -> None:
        """Nothing to note."""

    def failed(self, candidate: Candidate, failure: FailureClass, retry_after_ms: int | None) -> None:
        """Nothing to note."""


BEST_FIRST = BestFirst()
