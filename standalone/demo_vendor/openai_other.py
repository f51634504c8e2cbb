"""What is no conversation: embeddings, images, audio, moderations, rerank. OpenAI API reference (read 2026-11); rerank
as Cohere and Jina have it (docs.cohere.com/reference/rerank)."""

from __future__ import annotations

import base64
import hashlib
import struct
import time

from aiohttp import web

from standalone.demo_vendor.answers import tokens
from standalone.demo_vendor.calls import EMBEDDING_MODEL, OPENAI_MODEL, Json, invalid, json_object, known_model

DIMENSIONS = 8
PIXEL = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82"
).decode()


async def embeddings(request: web.Request) -> web.Response:
    """Vectors that are the same for the same text and mean nothing."""
    body = await json_object(request)
    known_model(body.get("model"), EMBEDDING_MODEL)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise invalid("input: must be a string or a list of strings", "input")
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text, as_base64=as_base64)}
        for index, text in enumerate(texts)
    ]
    count = sum(len(tokens(text)) for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return web.json_response({"object": "list", "model": EMBEDDING_MODEL, "data": data, "usage": usage})


def _vector(text: str, *, as_base64: bool) -> list[float] | str:
    digest = hashlib.sha256(text.encode()).digest()
    values = [(byte - 127.5) / 127.5 for byte in digest[:DIMENSIONS]]
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *values)).decode() if as_base64 else values


async def images(request: web.Request) -> web.Response:
    """One pixel."""
    known_model((await json_object(request)).get("model"), OPENAI_MODEL)
    usage = {"input_tokens": 5, "output_tokens": 10, "total_tokens": 15}
    return web.json_response({"created": int(time.time()), "data": [{"b64_json": PIXEL}], "usage": usage})


async def speech(request: web.Request) -> web.Response:
    """Bytes that say they are audio."""
    body = await json_object(request)
    known_model(body.get("model"), OPENAI_MODEL)
    return web.Response(body=b"ID3 " + str(body.get("input", "")).encode(), content_type="audio/mpeg")


async def transcription(request: web.Request) -> web.Response:
    """How long the file was."""
    form = await request.post()
    known_model(form.get("model"), OPENAI_MODEL)
    file = form.get("file")
    if not isinstance(file, web.FileField):
        raise invalid("file: Field required", "file")
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 6, "total_tokens": 20}
    return web.json_response({"text": f"{len(file.file.read())} bytes of {file.filename}", "usage": usage})


async def moderations(request: web.Request) -> web.Response:
    """Nothing is ever flagged."""
    body = await json_object(request)
    known_model(body.get("model", OPENAI_MODEL), OPENAI_MODEL)
    result: Json = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    return web.json_response({"id": "modr-demo", "model": OPENAI_MODEL, "results": [result]})


async def rerank(request: web.Request) -> web.Response:
    """The documents by their length."""
    body = await json_object(request)
    known_model(body.get("model"), OPENAI_MODEL)
    documents = body.get("documents")
    if not isinstance(documents, list) or not all(isinstance(text, str) for text in documents):
        raise invalid("documents: must be a list of strings", "documents")
    by_length = sorted(range(len(documents)), key=lambda place: -len(documents[place]))
    results = [{"index": place, "relevance_score": 1 / (rank + 1)} for rank, place in enumerate(by_length)]
    return web.json_response({"id": "rerank-demo", "results": results, "meta": {"billed_units": {"search_units": 1}}})


ROUTES = {
    "/v1/embeddings": embeddings,
    "/v1/images/generations": images,
    "/v1/audio/speech": speech,
    "/v1/audio/transcriptions": transcription,
    "/v1/moderations": moderations,
    "/v1/rerank": rerank,
}
