"""Where Gemini's thought signatures belong (ai.google.dev/gemini-api/docs/thought-signatures, read 2026-11). Pure.

Gemini signs parts of an answer: a call of a tool, words, a thought. Callers' shapes have signatures on thinking only,
so a signature leaves on a block of thinking before its part, marked with the part that it belongs to.
"""

from relay_edge.protocols.signatures import GEMINI, signature_of, signed

CALL = "call."  # and the call's id
TEXT = "text"
THOUGHT = "thought"

UNSIGNED = "skip_thought_signature_validator"
"""What the vendor wants on calls that were made elsewhere, or whose signature a caller lost: models from 3 on answer
400 to a call without any."""


def sign_part(part: str, signature: str) -> str:
    """The signature as callers get it. It has no colon: the vendor writes base64."""
    return signed(GEMINI, f"{part}:{signature}")


def signed_part(marked: str) -> tuple[str, str] | None:
    """Part and signature; None for what is not Gemini's."""
    part, _, signature = (signature_of(GEMINI, marked) or "").rpartition(":")
    return (part, signature) if part and signature else None
