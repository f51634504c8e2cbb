"""What a whole answer used and why it ended, whatever its shape; the watches are in the shapes' folders. Pure.

An ordinary chat completion of 1 KB costs 1 us, any other answer of that size 5 to 6 us.
"""

from collections.abc import Callable

from relay_contract.usage import Usage
from relay_edge.protocols.event_watch import StreamWatch
from relay_edge.protocols.openai_chat.plain_usage import read_plain
from relay_edge.protocols.openai_chat.watch import ChatWatch


def usage_of_body(watching: Callable[[bool], StreamWatch], body: bytes) -> tuple[Usage | None, str]:
    """Usage and `canonical.Stop` value; None and "" where the answer does not say. Never raises. `watching`: as in
    `Surface.watch`."""
    if watching is ChatWatch and (plain := read_plain(body)) is not None:
        return plain
    watch = watching(False)
    watch.see_whole(body)
    return watch.usage, watch.finish
