"""What a wire shape has to say about itself so that a request in it can be relayed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay_contract.errors import BadHeader
from relay_contract.nouns import WireShape
from relay_edge.error_shapes import ErrorShape
from relay_edge.protocols.watch import StreamWatch

_SOUND = re.compile(r"[\x20-\x7e]{0,1024}")


@dataclass(frozen=True, slots=True)
class Surface:
    """One vendor's API surface, both towards callers and towards hosts."""

    shape: WireShape
    name: str  # of what callers call, in records and metrics
    error_shape: ErrorShape
    path: str  # as callers see it, e.g. /v1/messages
    upstream_path: str  # added to a host's base URL
    credential_lines: Callable[[str], bytes]  # a host key's value -> header lines
    caller_lines: Callable[
        [Mapping[str, str]], bytes
    ]  # the caller's headers that the vendor has to see -> header lines
    error_event: Callable[[bytes], bytes]  # an error body -> a server-sent event
    watch: Callable[[bool], StreamWatch]  # of one stream; True: the caller did not ask for the usage event in it


def sound_header(name: str, value: str) -> bytes:
    """A header line of printable ASCII. Raises BadHeader."""
    if not _SOUND.fullmatch(value):
        raise BadHeader(f"The header {name} holds characters that HTTP does not allow, or is too long.")
    return f"{name}: {value}\r\n".encode("ascii")
