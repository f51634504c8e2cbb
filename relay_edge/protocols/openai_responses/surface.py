"""OpenAI's Responses (platform.openai.com/docs/api-reference/responses, read 2026-11)."""

import msgspec

from relay_contract.nouns import WireShape
from relay_edge.error_shapes import ErrorShape
from relay_edge.protocols.openai_chat.surface import PING, caller_lines, credential_lines
from relay_edge.protocols.openai_responses.watch import ResponsesWatch
from relay_edge.protocols.sse import named_event
from relay_edge.protocols.surface import Surface


def error_event(body: bytes) -> bytes:
    """An error in the middle of a stream.

    The reference's `error` event has its fields at the top, OpenAI's service and the SDKs, which raise on it, have them
    in `error`; both are sent. Nobody counts the events of a relayed stream, so its number is 0.
    """
    error = msgspec.json.decode(body)["error"]
    return named_event("error", msgspec.json.encode({**error, "type": "error", "sequence_number": 0, "error": error}))


SURFACE = Surface(
    shape=WireShape.OPENAI_RESPONSES,
    name="responses",
    error_shape=ErrorShape.OPENAI,
    path="/v1/responses",
    upstream_path="/responses",
    credential_lines=credential_lines,
    caller_lines=caller_lines,
    error_event=error_event,
    ping=PING,
    watch=ResponsesWatch,
)
