"""Responses: OpenAI API reference, `responses/object` and `responses-streaming` (read 2026-11)."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping

from standalone.demo_vendor.answers import Answer, Asked, compose, offered, tokens
from standalone.demo_vendor.calls import OPENAI_MODEL, Json, boolean, invalid, known_model, objects, positive, text_of

_ECHOED = (
    "instructions", "metadata", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p", "text",
    "reasoning", "truncation", "max_output_tokens",
)  # fmt: skip
_DEFAULTS: Json = {
    "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
    "text": {"format": {"type": "text"}}, "reasoning": {"effort": None, "summary": None}, "truncation": "disabled",
    "metadata": {},
}  # fmt: skip


def responses(body: Json, _headers: Mapping[str, str]) -> Json | list[bytes]:
    """A response, or its events."""
    asked = _asked(body)
    known_model(body.get("model"), OPENAI_MODEL)
    answer = compose(asked)
    shell = _shell(body)
    return _events(answer, shell) if boolean(body, "stream") else _finished(answer, shell, _item(answer))


def _asked(body: Json) -> Asked:
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else objects(given, "input")
    if not items:
        raise invalid("Missing required parameter: 'input'.", "input")
    instructions = body.get("instructions")
    prompt, count, tool_result = "", len(tokens(instructions)) if isinstance(instructions, str) else 0, None
    for index, item in enumerate(items):
        tool_result = None
        if item.get("type") == "function_call_output":
            output = item.get("output")
            tool_result = output if isinstance(output, str) else text_of(output, f"input[{index}].output")
            count += len(tokens(tool_result)) + 3
        elif "role" in item:
            text = text_of(item.get("content"), f"input[{index}].content")
            count += len(tokens(text)) + 3
            if item["role"] == "user":
                prompt = text
    tools = [tool for tool in objects(body.get("tools"), "tools") if tool.get("type") == "function"]
    choice = body.get("tool_choice")
    return Asked(
        prompt,
        count,
        tool_result,
        offered([(tool.get("name"), tool.get("parameters")) for tool in tools]),
        must_call="" if choice == "required" else choice.get("name") if isinstance(choice, dict) else None,
        may_call=choice != "none",
        schema=_schema(body.get("text")),
        max_tokens=positive(body, "max_output_tokens"),
    )


def _schema(text: object) -> Json | None:
    wanted = text.get("format") if isinstance(text, dict) else None
    schema = wanted.get("schema") if isinstance(wanted, dict) and wanted.get("type") == "json_schema" else None
    return schema if isinstance(schema, dict) else None


def _shell(body: Json) -> Json:
    return {
        "id": f"resp_{secrets.token_hex(12)}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": OPENAI_MODEL,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
        **{name: _DEFAULTS.get(name) if body.get(name) is None else body[name] for name in _ECHOED},
    }


def _item(answer: Answer) -> Json:
    if answer.called is not None:
        return {
            "id": f"fc_{secrets.token_hex(8)}",
            "type": "function_call",
            "status": "completed",
            "call_id": answer.call_id,
            "name": answer.called.name,
            "arguments": answer.arguments,
        }
    return {
        "id": f"msg_{secrets.token_hex(8)}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [_part(answer.text)],
    }


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _finished(answer: Answer, shell: Json, item: Json) -> Json:
    return shell | {
        "status": "incomplete" if answer.is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if answer.is_cut else None,
        "output": [item],
        "usage": {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }


def _events(answer: Answer, shell: Json) -> list[bytes]:
    item = _item(answer)
    of_item: Json = {"item_id": item["id"], "output_index": 0}
    empty: Json = {"content": []} if answer.called is None else {"arguments": ""}
    opened = item | {"status": "in_progress"} | empty
    said: list[tuple[str, Json]] = [
        ("response.created", {"response": shell}),
        ("response.in_progress", {"response": shell}),
        ("response.output_item.added", {"output_index": 0, "item": opened}),
        *(_call_events(answer, of_item) if answer.called is not None else _text_events(answer, of_item)),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        (
            "response.incomplete" if answer.is_cut else "response.completed",
            {"response": _finished(answer, shell, item)},
        ),
    ]
    return [_event(kind, number, fields) for number, (kind, fields) in enumerate(said)]


def _call_events(answer: Answer, of_item: Json) -> list[tuple[str, Json]]:
    middle = len(answer.arguments) // 2
    halves = [answer.arguments[:middle], answer.arguments[middle:]]
    name = answer.called.name if answer.called is not None else ""
    done = of_item | {"arguments": answer.arguments, "name": name}
    return [
        *(("response.function_call_arguments.delta", of_item | {"delta": half}) for half in halves),
        ("response.function_call_arguments.done", done),
    ]


def _text_events(answer: Answer, of_item: Json) -> list[tuple[str, Json]]:
    of_part = of_item | {"content_index": 0}
    return [
        ("response.content_part.added", of_part | {"part": _part("")}),
        *(("response.output_text.delta", of_part | {"delta": piece, "logprobs": []}) for piece in answer.pieces),
        ("response.output_text.done", of_part | {"text": answer.text, "logprobs": []}),
        ("response.content_part.done", of_part | {"part": _part(answer.text)}),
    ]


def _event(kind: str, number: int, fields: Json) -> bytes:
    document = json.dumps({"type": kind, "sequence_number": number, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {document}\n\n".encode()
