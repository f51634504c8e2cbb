"""A reasoning item <-> a block of thinking (platform.openai.com/docs/guides/reasoning, read 2026-11). Pure.

`encrypted_content` is what brings reasoning back to its vendor. OpenAI's own is text without a colon; what the relay
hands out for another vendor says whose it is.
"""

from collections.abc import Mapping
from typing import Any

from relay_edge.protocols.canonical import RedactedThinking, Thinking
from relay_edge.protocols.signatures import ANTHROPIC, OPENAI, signature_of, signed

_REDACTED = "anthropic_redacted"


def read_reasoning(item: Mapping[str, Any]) -> Thinking | RedactedThinking | None:
    """None for an item that says nothing."""
    encrypted = item.get("encrypted_content")
    marked = encrypted if isinstance(encrypted, str) else ""
    if (data := signature_of(_REDACTED, marked)) is not None:
        return RedactedThinking(data)
    signature = signature_of(ANTHROPIC, marked) if ":" in marked else None
    if signature is None:
        signature = marked
        if marked and ":" not in marked:
            own_id = item.get("id")
            is_id = isinstance(own_id, str) and ":" not in own_id
            signature = signed(OPENAI, f"{own_id if is_id else ''}:{marked}")
    text = "\n\n".join(texts_of(item.get("summary")) or texts_of(item.get("content")))
    return Thinking(text, signature) if text or signature else None


def texts_of(parts: Any) -> list[str]:
    """The texts of a list of parts."""
    given = parts if isinstance(parts, list) else ()
    return [part["text"] for part in given if isinstance(part, dict) and isinstance(part.get("text"), str)]


def own_reasoning(block: Thinking) -> dict[str, Any] | None:
    """The item as OpenAI gave it out; None when it was another vendor's, or nothing that OpenAI could read."""
    given = signature_of(OPENAI, block.signature)
    if given is None:
        return None
    own_id, _, encrypted = given.partition(":")
    item = {"type": "reasoning", "summary": summary_of(block.text), "encrypted_content": encrypted}
    return item | {"id": own_id} if own_id else item  # an empty one is refused by strict hosts


def encrypted_content(signature: str) -> str | None:
    """What a caller of ours gets for any vendor's signature, to be sent back."""
    if not signature:
        return None
    return signature if ":" in signature else signed(ANTHROPIC, signature)


def encrypted_redacted(data: str) -> str:
    """The same for reasoning that has no text."""
    return signed(_REDACTED, data)


def summary_of(text: str) -> list[dict[str, str]]:
    """The parts of a summary."""
    return [{"type": "summary_text", "text": text}] if text else []
