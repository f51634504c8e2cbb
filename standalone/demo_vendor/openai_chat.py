"""Chat completions: OpenAI API reference, `chat/object` and `chat/streaming` (read 2026-11)."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping

from standalone.demo_vendor.answers import Answer, Asked, compose, offered, tokens
from standalone.demo_vendor.calls import (
    EMBEDDING_MODEL,
    MODELS_SINCE,
    OPENAI_MODEL,
    BadCallError,
    Json,
    boolean,
    invalid,
    known_model,
    messages,
    objects,
    positive,
    text_of,
)

_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}


def chat_completions(body: Json, _headers: Mapping[str, str]) -> Json | list[bytes]:
    """A completion, or its chunks."""
    asked = _asked(body)
    known_model(body.get("model"), OPENAI_MODEL)
    is_streamed = boolean(body, "stream")
    options = body.get("stream_options")
    if options is not None and not (is_streamed and isinstance(options, dict)):
        raise invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    answer = compose(asked)
    if not is_streamed:
        return _completion(answer)
    return _events(answer, with_usage=isinstance(options, dict) and options.get("include_usage") is True)


def error(found: BadCallError) -> Json:
    """A refusal."""
    kind = "invalid_request_error" if found.status < 500 else "server_error"
    return {"error": {"message": found.message, "type": kind, "param": found.param, "code": found.code}}


def model_list() -> Json:
    """What is served."""
    listed = [
        {"id": name, "object": "model", "created": MODELS_SINCE, "owned_by": "demo-vendor"}
        for name in (OPENAI_MODEL, EMBEDDING_MODEL)
    ]
    return {"object": "list", "data": listed}


def data_event(document: Json) -> bytes:
    """One chunk of a stream."""
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


def _asked(body: Json) -> Asked:
    prompt, count, tool_result = "", 0, None
    for index, message in enumerate(messages(body, _ROLES)):
        content = message.get("content")
        tool_result = None
        if content is None and message["role"] == "assistant":
            continue  # an assistant turn that only called tools
        text = text_of(content, f"messages[{index}].content")
        count += len(tokens(text)) + 3  # each message costs a few tokens of framing
        if message["role"] == "user":
            prompt = text
        elif message["role"] == "tool":
            tool_result = text
    functions = [tool.get("function") for tool in objects(body.get("tools"), "tools")]
    choice = body.get("tool_choice")
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    return Asked(
        prompt,
        count,
        tool_result,
        offered([(each.get("name"), each.get("parameters")) for each in functions if isinstance(each, dict)]),
        must_call="" if choice == "required" else named,
        may_call=choice != "none",
        schema=_schema(body.get("response_format")),
        max_tokens=positive(body, "max_completion_tokens") or positive(body, "max_tokens"),
    )


def _schema(response_format: object) -> Json | None:
    if not isinstance(response_format, dict):
        return None
    match response_format.get("type"):
        case "json_schema":
            wanted = response_format.get("json_schema")
            schema = wanted.get("schema") if isinstance(wanted, dict) else None
            if not isinstance(schema, dict):
                raise invalid("Missing required parameter: 'response_format.json_schema.schema'.", "response_format")
            return schema
        case "json_object":
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
        case _:
            return None


def _finish(answer: Answer) -> str:
    if answer.called is not None:
        return "tool_calls"
    return "length" if answer.is_cut else "stop"


def _usage(answer: Answer) -> Json:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _message(answer: Answer) -> Json:
    if answer.called is None:
        return {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    call = {
        "id": answer.call_id,
        "type": "function",
        "function": {"name": answer.called.name, "arguments": answer.arguments},
    }
    return {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": [call]}


def _completion(answer: Answer) -> Json:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": OPENAI_MODEL,
        "choices": [{"index": 0, "message": _message(answer), "logprobs": None, "finish_reason": _finish(answer)}],
        "usage": _usage(answer),
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    }


def _deltas(answer: Answer) -> list[Json]:
    if answer.called is None:
        return [{"content": piece} for piece in answer.pieces]
    middle = len(answer.arguments) // 2
    opening = {
        "index": 0,
        "id": answer.call_id,
        "type": "function",
        "function": {"name": answer.called.name, "arguments": ""},
    }
    halves = [answer.arguments[:middle], answer.arguments[middle:]]
    return [
        {"tool_calls": [opening]},
        *({"tool_calls": [{"index": 0, "function": {"arguments": half}}]} for half in halves),
    ]


def _events(answer: Answer, *, with_usage: bool) -> list[bytes]:
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
        return data_event(base | {"choices": [choice]} | no_usage)

    opening: Json = {"role": "assistant", "content": None if answer.called else "", "refusal": None}
    events = [chunk(delta) for delta in (opening, *_deltas(answer))]
    events.append(chunk({}, _finish(answer)))
    if with_usage:
        events.append(data_event(base | {"choices": [], "usage": _usage(answer)}))
    return [*events, b"data: [DONE]\n\n"]
