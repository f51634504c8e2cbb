"""What a call may be, as far as all of the vendor's shapes agree."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from aiohttp import web

OPENAI_MODEL = "demo-gpt-1"
ANTHROPIC_MODEL = "demo-claude-1"
EMBEDDING_MODEL = "demo-embedding-1"
MODELS_SINCE = 1_790_000_000  # Unix seconds; any fixed time will do
MAX_BODY_BYTES = 32 * 1024 * 1024

Json: TypeAlias = dict[str, Any]  # a decoded JSON object: its values are of any JSON type until checked


class BadCallError(Exception):
    """The call is not one the vendor would serve."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code


def invalid(message: str, param: str | None = None) -> BadCallError:
    """A 400."""
    return BadCallError(400, "invalid_request_error", message, param)


async def json_object(request: web.Request) -> Json:
    """The body. Raises BadCallError."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise invalid("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise invalid("The body of your request must be a JSON object.")
    return body


def known_model(model: object, *served: str) -> None:
    """Raises BadCallError for a model that is not served here."""
    if not isinstance(model, str) or not model:
        raise invalid("model: Field required", "model")
    if model not in served:
        raise BadCallError(
            404, "not_found_error", f"The model `{model}` does not exist or you do not have access to it.", "model",
            "model_not_found",
        )  # fmt: skip


def positive(body: Json, name: str) -> int | None:
    """A whole number of at least 1, or None when it is not there."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(f"{name}: must be a whole number of at least 1", name)
    return value


def boolean(body: Json, name: str) -> bool:
    """A switch; False when it is not there."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name}: must be true or false", name)
    return value is True


def objects(value: object, where: str) -> list[Json]:
    """A list of objects; empty when it is not there."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(f"{where}: must be a list of objects", where)
    return value


def messages(body: Json, roles: set[str]) -> list[Json]:
    """The turns of a conversation, at least one."""
    found = objects(body.get("messages"), "messages")
    if not found:
        raise invalid("messages: must be a list with at least one message", "messages")
    for index, message in enumerate(found):
        if message.get("role") not in roles:
            raise invalid(f"messages.{index}.role: must be one of {', '.join(sorted(roles))}", f"messages[{index}]")
    return found


def text_of(content: object, where: str) -> str:
    """The text of a message's content, which is a string or a list of typed parts; other parts count as one word."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(f"{where}: must be a string or a list of parts", where)
    texts = []
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise invalid(f"{where}: each part must be an object with a type", where)
        text = part.get("text", f"[{part['type']}]")
        if not isinstance(text, str):
            raise invalid(f"{where}: text must be a string", where)
        texts.append(text)
    return "\n".join(texts)
