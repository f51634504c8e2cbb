"""Messages: Anthropic API reference, `messages`, `messages-streaming`, `messages-count-tokens` (read 2026-11)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from standalone.demo_vendor.answers import Answer, Asked, compose, offered, tokens
from standalone.demo_vendor.calls import (
    ANTHROPIC_MODEL,
    BadCallError,
    Json,
    boolean,
    invalid,
    known_model,
    objects,
    positive,
    text_of,
)
from standalone.demo_vendor.calls import messages as turns


def messages(body: Json, headers: Mapping[str, str]) -> Json | list[bytes]:
    """A message, or its events."""
    _check_version(headers)
    asked = _asked(body)
    known_model(body.get("model"), ANTHROPIC_MODEL)
    if asked.max_tokens is None:
        raise invalid("max_tokens: Field required")
    answer = compose(asked)
    return _events(answer) if boolean(body, "stream") else _message(answer)


def count_tokens(body: Json, headers: Mapping[str, str]) -> Json:
    """What a message would cost to read."""
    _check_version(headers)
    known_model(body.get("model"), ANTHROPIC_MODEL)
    return {"input_tokens": _asked(body).input_tokens}


def error(found: BadCallError) -> Json:
    """A refusal."""
    return {
        "type": "error",
        "error": {"type": found.kind, "message": found.message},
        "request_id": f"req_{secrets.token_hex(12)}",
    }


def model_list() -> Json:
    """What is served."""
    model = {"type": "model", "id": ANTHROPIC_MODEL, "display_name": "Demo", "created_at": "2026-09-21T00:00:00Z"}
    return {"data": [model], "has_more": False, "first_id": ANTHROPIC_MODEL, "last_id": ANTHROPIC_MODEL}


def _check_version(headers: Mapping[str, str]) -> None:
    if "anthropic-version" not in headers:
        raise invalid("anthropic-version: header is required")


def _asked(body: Json) -> Asked:
    found = turns(body, {"user", "assistant"})
    if found[0]["role"] != "user":
        raise invalid("messages: first message must use the user role")
    system = body.get("system")
    prompt, count = "", 0 if system is None else len(tokens(text_of(system, "system")))
    tool_result = None
    for index, message in enumerate(found):
        text = text_of(message.get("content"), f"messages.{index}.content")
        count += len(tokens(text)) + 3
        tool_result = _tool_result(message.get("content"))
        if message["role"] == "user" and tool_result is None:
            prompt = text
    choice = body.get("tool_choice")
    wanted = choice if isinstance(choice, dict) else {}
    tools = objects(body.get("tools"), "tools")
    return Asked(
        prompt,
        count,
        tool_result,
        offered([(tool.get("name"), tool.get("input_schema")) for tool in tools]),
        must_call="" if wanted.get("type") == "any" else wanted.get("name"),
        may_call=wanted.get("type") != "none",
        schema=_schema(body),
        max_tokens=positive(body, "max_tokens"),
    )


def _tool_result(content: object) -> str | None:
    """The words of the first tool result in a turn."""
    parts = content if isinstance(content, list) else []
    for part in parts:
        if part.get("type") == "tool_result":
            inner = part.get("content", "")
            return inner if isinstance(inner, str) else text_of(inner, "tool_result.content")
    return None


def _schema(body: Json) -> Json | None:
    config = body.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else body.get("output_format")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    return schema if isinstance(schema, dict) else None


def _stop_reason(answer: Answer) -> str:
    if answer.called is not None:
        return "tool_use"
    return "max_tokens" if answer.is_cut else "end_turn"


def _shell(answer: Answer, output_tokens: int) -> Json:
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


def _block(answer: Answer) -> Json:
    if answer.called is None:
        return {"type": "text", "text": answer.text}
    return {
        "type": "tool_use",
        "id": f"toolu_{answer.call_id}",
        "name": answer.called.name,
        "input": json.loads(answer.arguments),
    }


def _message(answer: Answer) -> Json:
    return _shell(answer, answer.output_tokens) | {"content": [_block(answer)], "stop_reason": _stop_reason(answer)}


def _event(kind: str, **fields: object) -> bytes:
    document = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {document}\n\n".encode()


def _deltas(answer: Answer) -> list[Json]:
    if answer.called is None:
        return [{"type": "text_delta", "text": piece} for piece in answer.pieces]
    middle = len(answer.arguments) // 2
    parts = ["", answer.arguments[:middle], answer.arguments[middle:]]
    return [{"type": "input_json_delta", "partial_json": part} for part in parts]


def _events(answer: Answer) -> list[bytes]:
    empty: Json = {"text": ""} if answer.called is None else {"input": {}}
    opened = _block(answer) | empty
    return [
        _event("message_start", message=_shell(answer, 1)),
        _event("content_block_start", index=0, content_block=opened),
        _event("ping"),
        *(_event("content_block_delta", index=0, delta=delta) for delta in _deltas(answer)),
        _event("content_block_stop", index=0),
        _event(
            "message_delta",
            delta={"stop_reason": _stop_reason(answer), "stop_sequence": None},
            usage={"output_tokens": answer.output_tokens},
        ),
        _event("message_stop"),
    ]
