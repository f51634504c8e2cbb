"""Which of the candidates that may be tried is tried: the seam to whoever knows how they fare. No I/O here.

`failover.followers` says who may be tried and in which order; a picker chooses among them, and is told what came of it.
"""

from collections.abc import Sequence
from typing import Protocol

from relay_edge.call_record import Attempt
from relay_edge.routing import Candidate


class Picker(Protocol):
    """One call's. None: none of them may be tried now."""

    def first(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """Without a wait: what the admission of the call chose."""

    async def next(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """After a failure."""

    def started(self, attempt: Attempt) -> None:
        """A request leaves. It comes to one of the three below."""

    def succeeded(self, attempt: Attempt) -> None:
        """The caller has a whole answer."""

    def failed(self, attempt: Attempt, retry_after_ms: int | None) -> None:
        """It did not answer (`attempt.failure`). `retry_after_ms`: when it wants to be asked again; None: it does not
        say."""

    def left(self, attempt: Attempt) -> None:
        """The caller left before the end: nothing is known of the host."""
