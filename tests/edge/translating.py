"""What the tests of translation share: short ways to put a call or an answer through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from relay_contract.nouns import Capabilities, WireShape
from relay_edge.protocols.sse import EventReader
from relay_edge.protocols.translation import Translation, Translator

OPENAI, ANTHROPIC, GEMINI = WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES, WireShape.GEMINI
RECORDINGS = Path(__file__).parent / "recordings"
OTHER = {OPENAI: ANTHROPIC, ANTHROPIC: OPENAI}

HI = {"role": "user", "content": "hi"}
CLAUDE = "claude-sonnet-4-5"
GPT = "gpt-4o"
GEMINI_3 = "gemini-3-flash"
UPSTREAM = {OPENAI: GPT, ANTHROPIC: CLAUDE, GEMINI: GEMINI_3}
UNKNOWN = Capabilities()


def to_host(
    shape: WireShape,
    host: WireShape,
    call: Any,
    upstream: str | None = None,
    capabilities: Capabilities = UNKNOWN,
    *,
    is_strict: bool = False,
) -> Translation:
    """A caller's call of this shape as a host of that one gets it; a model and messages are filled in."""
    filled = {"model": "m", "messages": [HI], **({"max_tokens": 100} if shape is ANTHROPIC else {}), **call}
    translator = Translator(
        shape, json.dumps(filled).encode(), created=1_700_000_000, fallback_id="made", is_strict=is_strict
    )
    return translator.to(host, upstream or UPSTREAM[host], capabilities)


def to_other(
    shape: WireShape,
    call: Any,
    upstream: str | None = None,
    capabilities: Capabilities = UNKNOWN,
    *,
    is_strict: bool = False,
) -> Translation:
    """The same, at a host of the other of the two shapes that this is about."""
    return to_host(shape, OTHER[shape], call, upstream, capabilities, is_strict=is_strict)


def sent(translation: Translation) -> Any:
    """The host's document."""
    return json.loads(translation.body)


def recording(name: str) -> bytes:
    """A recorded stream, as it came."""
    return (RECORDINGS / f"{name}.sse").read_bytes()


def events(stream: bytes) -> list[tuple[str, Any]]:
    """Name and document of every event; `[DONE]` as it is."""
    reader = EventReader()
    found = [*reader.feed(stream), *reader.end()]
    return [(e.name, e.data.decode() if e.data == b"[DONE]" else json.loads(e.data)) for e in found]
