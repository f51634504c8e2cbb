"""What a call will use at the most, before it is sent: enough to reserve limits and money by. Pure.

About four characters a token, over the whole document, so instructions and tools count as the host counts them. A long
string that is base64 (an image, a document, sound) is not read by the character; it counts as one large image.
1 KB costs 0.9 us, 512 KB of text 0.17 ms, an image of 1 MB 0.28 ms.
"""

import re

from relay_edge.protocols.form import FormRequest
from relay_edge.protocols.model_name import ModelRequest

CHARACTERS_PER_TOKEN = 4
MAX_TOKENS = 2_000_000
"""No model reads or writes more in one call."""

BLOB_TOKENS = 1_600
"""Anthropic's largest image; OpenAI's cost 65 to 1,500 (platform.claude.com/docs/en/build-with-claude/vision, read
2026-11). A document of many pages costs more, which shows in the usage."""

_SMALLEST_BLOB_BYTES = 8_192
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/_-]|\\/){256}")  # some encoders escape the slash


def tokens_of(characters: int) -> int:
    """Rounded up: a word is a token at least."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def estimate(request: ModelRequest | FormRequest) -> tuple[int, int | None]:
    """Input tokens, and the most that all its answers together may hold; None where the caller set no bound."""
    if isinstance(request, FormRequest):
        return min(MAX_TOKENS, request.prompt_tokens), None
    characters = len(request.body)
    blobs = 0
    if characters > _SMALLEST_BLOB_BYTES:
        for text in request.body.split(b'"'):
            if len(text) > _SMALLEST_BLOB_BYTES and _BASE64.match(text, 128):  # past `data:image/png;base64,`
                characters -= len(text)
                blobs += 1
    written = request.max_output_tokens
    return (
        min(MAX_TOKENS, max(1, tokens_of(characters) + blobs * BLOB_TOKENS)),
        None if written is None else min(MAX_TOKENS, written * request.answers),
    )
