"""A stream of a response's events, watched (platform.openai.com/docs/api-reference/responses-streaming, read 2026-11).

The last event holds the whole response again, usage included; the first two repeat the request and are skipped over.
"""

from typing import Any

import msgspec

from relay_edge.protocols.canonical import Failed, Stop
from relay_edge.protocols.event_watch import EventWatch
from relay_edge.protocols.openai_responses.usage import read_usage

_CALLS = ("function_call", "custom_tool_call")


_NOTHING = msgspec.Raw(b"{}")


class _Item(msgspec.Struct, gc=False):
    type: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: Any = None
    item: _Item | None = None
    response: msgspec.Raw = _NOTHING
    error: Any = None
    code: Any = None
    message: Any = None


class _Response(msgspec.Struct, gc=False):
    status: str | None = None
    usage: Any = None
    output: Any = None
    incomplete_details: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_LAST = ("response.completed", "response.incomplete")
_FAILED = ("response.failed", "response.cancelled")


class ResponsesWatch(EventWatch):
    """See StreamWatch."""

    __slots__ = ()

    _read_usage = staticmethod(read_usage)

    def __init__(self, _hides_usage: bool = False) -> None:
        """A response always says what was used; nothing is hidden."""
        super().__init__()

    def _read(self, payload: bytes, name: bytes) -> bool:
        event = _decode(payload)
        kind = event.type or name.decode("utf-8", "replace")
        if kind.endswith(".delta"):
            self._read_delta(kind, event.delta)
        elif kind in _LAST:
            self._read_response(event.response, kind.removeprefix("response."))
            self._end_mark()
        elif kind in _FAILED:
            self._fail(_failure(_decode_response(event.response).error))
        elif kind == "error":
            self._fail(_failure(event.error or {"code": event.code, "message": event.message}))
        elif event.item is not None and event.item.type not in ("message", "reasoning"):
            self.has_content = True  # a tool's call begins, the caller's or the host's
        return True

    def _read_loosely(self, payload: bytes, name: bytes) -> bool:
        if payload.strip() == b"[DONE]":  # some hosts end every stream with it
            self._end_mark()
            return True
        return self._read(payload, name)

    def _read_whole(self, body: bytes) -> None:
        self._read_response(body, "")

    def _read_delta(self, kind: str, delta: Any) -> None:
        if isinstance(delta, str) and kind != "response.audio.delta":
            if delta:
                self._deliver(delta)
        else:
            self.has_content = True

    def _read_response(self, document: bytes | msgspec.Raw, status: str) -> None:
        """A whole response, or that of a last event, whose name tells the status."""
        response = _decode_response(document)
        self._said = read_usage(response.usage, response.output)
        match status or response.status:
            case "completed":
                self._finish(_completed(response.output))
            case "incomplete":
                self._finish(_incomplete(response.incomplete_details))
            case _:
                pass  # it failed, or runs in the background


def _completed(output: Any) -> Stop:
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    if any(item.get("type") in _CALLS for item in items):
        return Stop.TOOL_USE
    contents = [item["content"] for item in items if isinstance(item.get("content"), list)]
    has_refused = any(isinstance(part, dict) and part.get("type") == "refusal" for parts in contents for part in parts)
    return Stop.REFUSAL if has_refused else Stop.END


def _incomplete(details: Any) -> Stop:
    match details:
        case {"reason": "max_output_tokens"}:
            return Stop.LENGTH
        case {"reason": "content_filter"}:
            return Stop.REFUSAL
        case _:
            return Stop.UNKNOWN


def _failure(error: Any) -> Failed:
    values = error if isinstance(error, dict) else {}
    kind, message = values.get("code") or values.get("type"), values.get("message")
    return Failed(str(kind or "")[:100], message if isinstance(message, str) else "")
