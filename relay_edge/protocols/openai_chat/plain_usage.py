"""Usage of an ordinary chat completion, read without the rest of it: 2 us of a 1 KB answer, a third of what the watch
takes. Whatever is out of the ordinary is the watch's.
"""

from typing import Annotated

import msgspec

from relay_contract.usage import Usage
from relay_edge.protocols.canonical import Stop
from relay_edge.protocols.fields import MAX_COUNT

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_Zero = Annotated[int, msgspec.Meta(ge=0, le=0)]


class _PromptDetails(msgspec.Struct, gc=False):
    """A field that has to be null here tells of something that the watch reads."""

    cached_tokens: _Count | None = None
    audio_tokens: _Zero | None = None
    cache_write_tokens: None = None
    cache_creation_tokens: None = None
    cache_creation_token_details: None = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count | None = None
    audio_tokens: _Zero | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: None = None
    cache_creation_input_tokens: None = None


class _Message(msgspec.Struct, gc=False):
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str


class _Answer(msgspec.Struct, gc=False):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1, max_length=1)]
    usage: _Usage
    error: None = None


_decode = msgspec.json.Decoder(_Answer).decode
_STOPS = {"stop": Stop.END.value, "length": Stop.LENGTH.value}


def read_plain(body: bytes) -> tuple[Usage, str] | None:
    """Usage and `canonical.Stop` value of one choice of plain text. None for anything else. Never raises."""
    try:
        answer = _decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    said = answer.usage
    finish = _STOPS.get(answer.choices[0].finish_reason)
    cached = 0
    if said.prompt_tokens_details is not None:
        cached = said.prompt_tokens_details.cached_tokens or 0
    if finish is None or cached > said.prompt_tokens:
        return None
    made = said.completion_tokens_details
    return (
        Usage(
            input_tokens=said.prompt_tokens - cached,
            cache_read_tokens=cached,
            output_tokens=said.completion_tokens,
            reasoning_tokens=0 if made is None else made.reasoning_tokens or 0,
        ),
        finish,
    )
