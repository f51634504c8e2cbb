"""The demo's fake model vendor: answers like OpenAI and Anthropic without a model, so that the demo needs no internet.

It repeats the question, so answers are the same each time; tokens are counted from words and marks. It checks calls as
the vendors do and refuses bad ones in their shape, so a relay that garbles a call is seen at once. One process, no I/O
but HTTP. Shapes: OpenAI API reference `chat/completions` and `chat/streaming`; Anthropic `messages` and
`messages-streaming` (both read 2026-11).
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiohttp import web

OPENAI_MODEL = "demo-gpt-1"
ANTHROPIC_MODEL = "demo-claude-1"
MODELS_SINCE = 1_790_000_000  # Unix seconds; any fixed time will do
MAX_BODY_BYTES = 32 * 1024 * 1024
LONGEST_ECHO_TOKENS = 400

Json: TypeAlias = dict[str, Any]  # a decoded JSON object: its values are of any JSON type until checked
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])")


class BadCallError(Exception):
    """The call is not one the vendor would serve."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code


@dataclass(slots=True, frozen=True)
class Answer:
    """What is said back: its text in pieces of one token each, and the counts a bill would be made from."""

    pieces: tuple[str, ...]
    input_tokens: int
    is_cut: bool  # the caller's token limit ended it

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def tokens(text: str) -> list[str]:
    """Words and marks, each with the space before it: a stand-in for a tokenizer. Joining them gives the text again."""
    return _TOKEN.findall(text)


def compose(prompt: str, input_tokens: int, max_tokens: int | None) -> Answer:
    """The answer to `prompt`. Always the same for the same call."""
    echo = tokens(prompt.strip())[:LONGEST_ECHO_TOKENS]
    full = tokens(f'This is the demo vendor; no model is behind it. You wrote: "{"".join(echo)}"')
    pieces = tuple(full[:max_tokens])
    return Answer(pieces, input_tokens, is_cut=len(pieces) < len(full))


def application(api_key: str, chunk_delay_seconds: float = 0.02) -> web.Application:
    """The vendor's HTTP application. `api_key` is the only credential it takes; streams pause between two pieces."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    openai = _Wire(api_key, chunk_delay_seconds, _openai_error)
    anthropic = _Wire(api_key, chunk_delay_seconds, _anthropic_error)
    app.router.add_post("/v1/chat/completions", openai.guarded(openai.chat_completions))
    app.router.add_post("/v1/messages", anthropic.guarded(anthropic.messages))
    app.router.add_get("/v1/models", openai.guarded(_models))
    app.router.add_get("/healthz", _healthz)
    return app


class _Wire:
    """The handlers of one vendor's shape."""

    def __init__(self, api_key: str, delay_seconds: float, error: Callable[[BadCallError], Json]) -> None:
        self._api_key = api_key.encode()
        self._delay_seconds = delay_seconds
        self._error = error

    def guarded(self, handler: Handler) -> Handler:
        """`handler` behind the API key; what it raises is answered in the vendor's shape."""

        async def guard(request: web.Request) -> web.StreamResponse:
            try:
                self._authenticate(request.headers)
                return await handler(request)
            except BadCallError as error:
                headers = {"request-id": f"req_{secrets.token_hex(12)}"}
                return web.json_response(self._error(error), status=error.status, headers=headers)

        return guard

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode(errors="replace"), self._api_key):
            raise BadCallError(401, "authentication_error", "Incorrect API key provided.", code="invalid_api_key")

    async def chat_completions(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        prompt, input_tokens = _openai_prompt(body)
        _known_model(body, OPENAI_MODEL)
        limit = _positive(body, "max_completion_tokens") or _positive(body, "max_tokens")
        is_streamed = _boolean(body, "stream")
        options = body.get("stream_options")
        if options is not None and not (is_streamed and isinstance(options, dict)):
            raise _invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
        answer = compose(prompt, input_tokens, limit)
        if not is_streamed:
            return web.json_response(_openai_completion(answer))
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        return await self._stream(request, _openai_events(answer, with_usage=with_usage))

    async def messages(self, request: web.Request) -> web.StreamResponse:
        if "anthropic-version" not in request.headers:
            raise _invalid("anthropic-version: header is required")
        body = await _object(request)
        prompt, input_tokens = _anthropic_prompt(body)
        _known_model(body, ANTHROPIC_MODEL)
        limit = _positive(body, "max_tokens")
        if limit is None:
            raise _invalid("max_tokens: Field required")
        answer = compose(prompt, input_tokens, limit)
        if not _boolean(body, "stream"):
            headers = {"request-id": f"req_{secrets.token_hex(12)}"}
            return web.json_response(_anthropic_message(answer), headers=headers)
        return await self._stream(request, _anthropic_events(answer))

    async def _stream(self, request: web.Request, events: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.headers["Cache-Control"] = "no-cache"
        await response.prepare(request)
        async for event in self._paced(events):
            await response.write(event)
        await response.write_eof()
        return response

    async def _paced(self, events: list[bytes]) -> AsyncIterator[bytes]:
        for event in events:
            yield event
            if self._delay_seconds:
                await asyncio.sleep(self._delay_seconds)


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _models(request: web.Request) -> web.Response:
    if "anthropic-version" in request.headers:
        model = {"type": "model", "id": ANTHROPIC_MODEL, "display_name": "Demo", "created_at": "2026-09-21T00:00:00Z"}
        return web.json_response(
            {"data": [model], "has_more": False, "first_id": ANTHROPIC_MODEL, "last_id": ANTHROPIC_MODEL}
        )
    listed = {"id": OPENAI_MODEL, "object": "model", "created": MODELS_SINCE, "owned_by": "demo-vendor"}
    return web.json_response({"object": "list", "data": [listed]})


# --- reading calls


def _invalid(message: str, param: str | None = None) -> BadCallError:
    return BadCallError(400, "invalid_request_error", message, param)


async def _object(request: web.Request) -> Json:
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise _invalid("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise _invalid("The body of your request must be a JSON object.")
    return body


def _known_model(body: Json, served: str) -> None:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _invalid("model: Field required", "model")
    if model != served:
        raise BadCallError(
            404, "not_found_error", f"The model `{model}` does not exist or you do not have access to it.", "model",
            "model_not_found",
        )  # fmt: skip


def _positive(body: Json, name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _invalid(f"{name}: must be a whole number of at least 1", name)
    return value


def _boolean(body: Json, name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise _invalid(f"{name}: must be true or false", name)
    return value is True


def _messages(body: Json, roles: set[str]) -> list[Json]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages: must be a list with at least one message", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in roles:
            raise _invalid(f"messages.{index}.role: must be one of {', '.join(sorted(roles))}", f"messages[{index}]")
    return messages


def _text(content: object, where: str) -> str:
    """The text of a message's content, which is a string or a list of typed parts; other parts count as one word."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _invalid(f"{where}: must be a string or a list of parts", where)
    texts = []
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _invalid(f"{where}: each part must be an object with a type", where)
        text = part.get("text", f"[{part['type']}]")
        if not isinstance(text, str):
            raise _invalid(f"{where}: text must be a string", where)
        texts.append(text)
    return "\n".join(texts)


def _openai_prompt(body: Json) -> tuple[str, int]:
    """The last user message, and the tokens of all messages."""
    messages = _messages(body, {"system", "developer", "user", "assistant", "tool", "function"})
    prompt, count = "", 0
    for index, message in enumerate(messages):
        content = message.get("content")
        if content is None and message["role"] == "assistant":
            continue  # an assistant turn that only called tools
        text = _text(content, f"messages[{index}].content")
        count += len(tokens(text)) + 3  # each message costs a few tokens of framing
        if message["role"] == "user":
            prompt = text
    return prompt, count


def _anthropic_prompt(body: Json) -> tuple[str, int]:
    messages = _messages(body, {"user", "assistant"})
    if messages[0]["role"] != "user":
        raise _invalid("messages: first message must use the user role")
    system = body.get("system")
    prompt, count = "", 0 if system is None else len(tokens(_text(system, "system")))
    for index, message in enumerate(messages):
        text = _text(message.get("content"), f"messages.{index}.content")
        count += len(tokens(text)) + 3
        if message["role"] == "user":
            prompt = text
    return prompt, count


# --- OpenAI


def _openai_error(error: BadCallError) -> Json:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def _openai_usage(answer: Answer) -> Json:
    output = len(answer.pieces)
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": output,
        "total_tokens": answer.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _openai_completion(answer: Answer) -> Json:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": OPENAI_MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "length" if answer.is_cut else "stop",
            }
        ],
        "usage": _openai_usage(answer),
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    }


def _openai_events(answer: Answer, *, with_usage: bool) -> list[bytes]:
    base: Json = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": OPENAI_MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    }
    no_usage: Json = {"usage": None} if with_usage else {}  # with include_usage every chunk has the field

    def chunk(delta: Json, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _data(base | {"choices": [choice]} | no_usage)

    events = [chunk({"role": "assistant", "content": "", "refusal": None})]
    events += [chunk({"content": piece}) for piece in answer.pieces]
    events.append(chunk({}, "length" if answer.is_cut else "stop"))
    if with_usage:
        events.append(_data(base | {"choices": [], "usage": _openai_usage(answer)}))
    return [*events, b"data: [DONE]\n\n"]


def _data(document: Json) -> bytes:
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


# --- Anthropic


def _anthropic_error(error: BadCallError) -> Json:
    return {
        "type": "error",
        "error": {"type": error.kind, "message": error.message},
        "request_id": f"req_{secrets.token_hex(12)}",
    }


def _anthropic_shell(answer: Answer, output_tokens: int) -> Json:
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": ANTHROPIC_MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
            "service_tier": "standard",
        },
    }


def _anthropic_message(answer: Answer) -> Json:
    return _anthropic_shell(answer, len(answer.pieces)) | {
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": "max_tokens" if answer.is_cut else "end_turn",
    }


def _anthropic_events(answer: Answer) -> list[bytes]:
    def event(kind: str, **fields: object) -> bytes:
        document = json.dumps({"type": kind, **fields}, separators=(",", ":"))
        return f"event: {kind}\ndata: {document}\n\n".encode()

    stop_reason = "max_tokens" if answer.is_cut else "end_turn"
    return [
        event("message_start", message=_anthropic_shell(answer, 1)),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        *(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            for piece in answer.pieces
        ),
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": stop_reason, "stop_sequence": None},
            usage={"output_tokens": len(answer.pieces)},
        ),
        event("message_stop"),
    ]
