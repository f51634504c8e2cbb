"""What a wire shape has to say about itself so that a request in it can be relayed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay_contract.errors import BadHeader
from relay_contract.nouns import WireShape
from relay_edge.error_shapes import ErrorShape
from relay_edge.protocols.event_watch import StreamWatch
from relay_edge.protocols.model_name import ModelRequest

_SOUND = re.compile(r"[\x20-\x7e]{0,1024}")


def same_request(request: ModelRequest, name: str) -> tuple[bytes, bool]:
    """The caller's own bytes; a host of this shape always says what was used."""
    return request.for_model(name), False


@dataclass(frozen=True, slots=True)
class HostSurface:
    """A vendor's API towards hosts."""

    shape: WireShape
    upstream_path: str | Callable[[str, bool], str]
    """Added to a host's base URL. A callable where it holds the model: (upstream name, is a stream) -> path."""
    credential_lines: Callable[[str], bytes]  # a host key's value -> header lines
    caller_lines: Callable[
        [Mapping[str, str]], bytes
    ]  # the caller's headers that the vendor has to see -> header lines

    def path_for(self, upstream_name: str, is_stream: bool) -> str:
        """What is added to a host's base URL for a call."""
        path = self.upstream_path
        return path if isinstance(path, str) else path(upstream_name, is_stream)


@dataclass(frozen=True, slots=True)
class Surface(HostSurface):
    """One vendor's API surface, both towards callers and towards hosts."""

    name: str  # of what callers call, in records and metrics
    error_shape: ErrorShape
    path: str  # as callers see it, e.g. /v1/messages
    error_event: Callable[[bytes], bytes]  # an error body -> a server-sent event
    ping: bytes  # what keeps a silent stream alive, anywhere between two events
    watch: Callable[[bool], StreamWatch]  # whether usage is hidden from the caller -> a watch for one try's stream
    request_for: Callable[[ModelRequest, str], tuple[bytes, bool]] = same_request
    """A caller's request and the host's name of the model -> the bytes that a host of this shape gets, and whether
    usage has to be hidden. Raises MalformedJson."""


def sound_header(name: str, value: str) -> bytes:
    """A header line of printable ASCII. Raises BadHeader."""
    if not _SOUND.fullmatch(value):
        raise BadHeader(f"The header {name} holds characters that HTTP does not allow, or is too long.")
    return f"{name}: {value}\r\n".encode("ascii")
