"""Whose signature a block of reasoning carries, so that none is ever shown to another vendor. Pure.

Callers send a signature back wherever their next call goes, and a vendor refuses a call with another's. So each one
but Anthropic's says in front whose it is: `openai:<item id>:<encrypted content>`, `gemini:<part>:<thought signature>`.
Anthropic's are base64, which has no colon, and stay as they are.
"""

ANTHROPIC = "anthropic"
GEMINI = "gemini"
OPENAI = "openai"


def signed(vendor: str, signature: str) -> str:
    """A vendor's signature, marked as its own."""
    return f"{vendor}:{signature}"


def signature_of(vendor: str, marked: str) -> str | None:
    """The vendor's signature without its mark; None when it is somebody else's."""
    name, colon, signature = marked.partition(":")
    return signature if colon and name == vendor else None


def is_anthropics(signature: str) -> bool:
    """Whether Anthropic takes it."""
    return bool(signature) and ":" not in signature
