"""Signatures of reasoning, marked with whose they are, so that none is ever shown to another vendor's model. Pure.

Anthropic's pass as they are. Another vendor's go out as `relay.<maker>.<slot>.<signature>`
in the place that the caller's shape has for a signature; `slot` tells which part of the answer it belongs to. A mark
holds dots, which base64 does not, so no signature of Anthropic's looks like one.
"""

_MARK = "relay."


def marked(maker: str, slot: str, signature: str) -> str:
    """`signature` has no dot in it: vendors write base64."""
    return f"{_MARK}{maker}.{slot}.{signature}"


def unmarked(signature: str, maker: str) -> tuple[str, str] | None:
    """Slot and signature; None for what is not this maker's."""
    prefix = f"{_MARK}{maker}."
    if not signature.startswith(prefix):
        return None
    slot, _, own = signature[len(prefix) :].rpartition(".")
    return (slot, own) if slot and own else None


def is_marked(signature: str) -> bool:
    """Whether it is another vendor's than Anthropic's."""
    return signature.startswith(_MARK)
