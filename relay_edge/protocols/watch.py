"""What an answer used and why it ended, whatever its shape; the watches themselves are in the shapes' folders. Pure.

A whole answer of 1 KB costs 5 to 6 us.
"""

from collections.abc import Callable
from dataclasses import replace

from relay_contract.nouns import WireShape
from relay_contract.usage import Usage, UsageSource
from relay_edge.protocols.anthropic_messages.watch import MessagesWatch
from relay_edge.protocols.estimate import tokens_of
from relay_edge.protocols.event_watch import EventWatch, StreamWatch
from relay_edge.protocols.gemini.watch import ContentsWatch
from relay_edge.protocols.openai_chat.plain_usage import read_plain
from relay_edge.protocols.openai_chat.watch import ChatWatch
from relay_edge.protocols.openai_responses.watch import ResponsesWatch

__all__ = ["StreamWatch", "estimated_usage", "usage_of_body", "usage_of_stream"]

_WATCHES: dict[WireShape, Callable[[bool], EventWatch]] = {
    WireShape.OPENAI_CHAT: ChatWatch,
    WireShape.OPENAI_RESPONSES: ResponsesWatch,
    WireShape.ANTHROPIC_MESSAGES: MessagesWatch,
    WireShape.GEMINI: ContentsWatch,
}


def usage_of_body(shape: WireShape, body: bytes) -> tuple[Usage | None, str]:
    """Usage and `canonical.Stop` value of a whole answer; None and "" where it does not say. Never raises."""
    if shape is WireShape.OPENAI_CHAT and (plain := read_plain(body)) is not None:
        return plain
    watch = _WATCHES[shape](False)
    watch.see_whole(body)
    return watch.usage, watch.finish


def usage_of_stream(watch: StreamWatch, input_tokens: int) -> tuple[Usage, UsageSource]:
    """What is written down for a stream, whole or cut. `input_tokens`: an estimate, where the host said nothing.

    The output of a cut stream is counted from what was delivered: hosts tell it at the end, if at all.
    """
    said, written = watch.usage, tokens_of(watch.delivered_characters)
    if said is None:
        return Usage(input_tokens=input_tokens, output_tokens=written), UsageSource.ESTIMATED
    if watch.has_finished:
        return said, UsageSource.PROVIDER
    return replace(said, output_tokens=max(said.output_tokens, written)), UsageSource.PARTIAL


def estimated_usage(input_characters: int, output_characters: int) -> Usage:
    """For an answer whose host said nothing."""
    return Usage(input_tokens=tokens_of(input_characters), output_tokens=tokens_of(output_characters))
