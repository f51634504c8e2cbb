"""What a delivery costs: one credit, and one more for each 64 KiB of its body, or of what a stream streams back. Pure.

Amounts are whole micro-credits. They are held when a request is accepted and closed once for each delivery and replay:
settled when its target was to blame or pleased, released when the relay was.
"""

MICRO = 1_000_000
"""Micro-credits of a credit."""
UNIT_BYTES = 65_536

UNITS_SQL = f"1 + body_bytes / {UNIT_BYTES}"
"""`units` of a delivery's row, in SQL."""


def units(body_bytes: int) -> int:
    """Credits of a delivery with such a body."""
    return 1 + body_bytes // UNIT_BYTES
