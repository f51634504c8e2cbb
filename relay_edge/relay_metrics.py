"""Calls to relay endpoints, counted for Prometheus by mode and outcome. 0.6 us a call."""

from typing import Final

from relay_edge.metrics import SECONDS_BOUNDS, STATUS_CLASSES, Registry
from relay_edge.relay_call import RelayCall

NOTHING: Final = "none"
"""Stands for a mode where nothing was accepted: the call was refused, or had been made before."""
MODES: Final = ("async", "sync", "stream", NOTHING)


class RelayMetrics:
    """One for each process."""

    __slots__ = ("_answered", "_seconds")

    def __init__(self, registry: Registry) -> None:
        self._answered = {
            (mode, place): registry.counter(
                "relay_edge_relayed_total", "Calls to relay endpoints, by how they are answered.",
                mode=mode, status=status_class,
            )
            for mode in MODES
            for place, status_class in enumerate(STATUS_CLASSES, 1)
        }  # fmt: skip
        self._seconds = {
            mode: registry.histogram(
                "relay_edge_relayed_seconds", "From such a call's head to its answer's end.", SECONDS_BOUNDS, mode=mode
            )
            for mode in MODES
        }

    def observe(self, call: RelayCall) -> None:
        """Counts a call that ended."""
        mode = call.mode if call.is_accepted else NOTHING
        self._answered[mode, min(call.status // 100, 5)].value += 1
        self._seconds[mode].observe(call.ended - call.started)
