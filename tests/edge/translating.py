"""What the tests of translation share: short ways to put a call or an answer through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from relay_contract.nouns import WireShape
from relay_edge.protocols.sse import EventReader
from relay_edge.protocols.translation import Translation, Translator

OPENAI, ANTHROPIC = WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES
RECORDINGS = Path(__file__).parent / "recordings"
OTHER = {OPENAI: ANTHROPIC, ANTHROPIC: OPENAI}

HI = {"role": "user", "content": "hi"}
CLAUDE = "claude-sonnet-4-5"
GPT = "gpt-4o"
UPSTREAM = {OPENAI: GPT, ANTHROPIC: CLAUDE}


def to_other(shape: WireShape, call: Any, upstream: str | None = None) -> Translation:
    """A caller's call of this shape as a host of the other gets it; a model and messages are filled in."""
    filled = {"model": "m", "messages": [HI], **({"max_tokens": 100} if shape is ANTHROPIC else {}), **call}
    body = json.dumps(filled).encode()
    return Translator(shape, body, created=1_700_000_000, fallback_id="made").to(
        OTHER[shape], upstream or UPSTREAM[OTHER[shape]]
    )


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
