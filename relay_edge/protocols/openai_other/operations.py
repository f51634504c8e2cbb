"""The addresses (platform.openai.com/docs/api-reference; rerank as docs.cohere.com/reference/rerank and Jina have it;
read 2026-11)."""

from functools import partial

from relay_contract.nouns import WireShape
from relay_edge.protocols.openai_chat import SURFACE
from relay_edge.protocols.openai_other.usage import Made, read_usage
from relay_edge.protocols.openai_other.watch import AnswerWatch
from relay_edge.protocols.operation import Operation

HOSTS = frozenset({WireShape.OPENAI_CHAT, WireShape.OPENAI_RESPONSES})


MADE = {
    "/embeddings": Made.NOTHING,
    "/images/generations": Made.IMAGES,
    "/images/edits": Made.IMAGES,
    "/images/variations": Made.IMAGES,
    "/audio/speech": Made.AUDIO,
    "/audio/transcriptions": Made.TEXT,
    "/audio/translations": Made.TEXT,
    "/moderations": Made.NOTHING,
    "/rerank": Made.NOTHING,
}
"""What is answered at each address, as it stands below a host's base URL."""


def _operation(path: str, made: Made) -> Operation:
    return Operation(
        "images" if made is Made.IMAGES else path[1:].replace("/", "_"),
        f"/v1{path}",
        SURFACE,
        upstream_path=path,
        hosts=HOSTS,
        watch=partial(AnswerWatch, partial(read_usage, made=made)),
        is_written=made is not Made.NOTHING,
        is_heard=path.startswith("/audio/") and made is Made.TEXT,
    )


OPERATIONS = tuple(_operation(path, made) for path, made in MADE.items())
