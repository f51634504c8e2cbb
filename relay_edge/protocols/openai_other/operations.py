"""The addresses (platform.openai.com/docs/api-reference; rerank as docs.cohere.com/reference/rerank and Jina have it;
read 2026-11)."""

from functools import partial

from relay_contract.nouns import WireShape
from relay_edge.protocols.openai_chat import SURFACE
from relay_edge.protocols.openai_other.usage import Made, read_usage
from relay_edge.protocols.openai_other.watch import AnswerWatch
from relay_edge.protocols.operation import Operation

HOSTS = frozenset({WireShape.OPENAI_CHAT, WireShape.OPENAI_RESPONSES})


def _operation(name: str, path: str, made: Made) -> Operation:
    return Operation(
        name,
        f"/v1{path}",
        SURFACE,
        upstream_path=path,
        hosts=HOSTS,
        watch=partial(AnswerWatch, partial(read_usage, made=made)),
        is_written=made is not Made.NOTHING,
    )


OPERATIONS = (
    _operation("embeddings", "/embeddings", Made.NOTHING),
    _operation("images", "/images/generations", Made.IMAGES),
    _operation("images", "/images/edits", Made.IMAGES),
    _operation("images", "/images/variations", Made.IMAGES),
    _operation("audio_speech", "/audio/speech", Made.AUDIO),
    _operation("audio_transcriptions", "/audio/transcriptions", Made.TEXT),
    _operation("audio_translations", "/audio/translations", Made.TEXT),
    _operation("moderations", "/moderations", Made.NOTHING),
    _operation("rerank", "/rerank", Made.NOTHING),
)
