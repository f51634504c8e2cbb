"""What callers may ask of a model: a conversation, or something else that a host of the right family does."""

from collections.abc import Callable
from dataclasses import dataclass

from relay_contract.nouns import WireShape
from relay_edge.protocols.event_watch import StreamWatch
from relay_edge.protocols.surface import Surface


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One address of the relay's API, on its way to hosts."""

    name: str  # in records, e.g. embeddings
    path: str  # as callers see it, e.g. /v1/embeddings
    surface: Surface  # the caller's shape; its errors are in it
    upstream_path: str = ""
    """Added to a host's base URL. "": the path of the shape that the host speaks, into which the call is translated."""
    hosts: frozenset[WireShape] | None = None
    """Shapes of hosts that do it; the bytes pass as they are. None: a conversation, which every host takes."""
    watch: Callable[[bool], StreamWatch] | None = None
    """For an answer's usage; None: the surface's own."""
    methods: tuple[str, ...] = ("POST",)
    is_written: bool = True
    """Whether answers are written by the model, so that tokens are reserved for them."""
    is_heard: bool = False
    """Whether the files of a call are sound that the model listens to."""

    @property
    def paths(self) -> tuple[str, str]:
        """Where callers find it: plain, and below their vendor's name, as base URLs of both kinds are written."""
        return self.path, f"/{self.surface.error_shape.value}{self.path}"
