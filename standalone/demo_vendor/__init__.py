"""The demo's fake model vendor: answers like OpenAI and Anthropic without a model, so that the demo needs no internet.

It repeats the question, so answers are the same each time; tokens are counted from words and marks. It calls a tool
that the question names or the caller forces, and fills a JSON schema with sample values, so agents can be tried too. It
checks calls as the vendors do and refuses bad ones in their shape, so a relay that garbles a call is seen at once. One
process, no I/O but HTTP. Shapes: OpenAI API reference, Anthropic API reference (both read 2026-11).
"""

from __future__ import annotations

from aiohttp import web

from standalone.demo_vendor import anthropic_messages, openai_chat, openai_other, openai_responses
from standalone.demo_vendor.calls import ANTHROPIC_MODEL, EMBEDDING_MODEL, MAX_BODY_BYTES, OPENAI_MODEL
from standalone.demo_vendor.door import Door

__all__ = ["ANTHROPIC_MODEL", "EMBEDDING_MODEL", "OPENAI_MODEL", "application"]


def application(api_key: str, chunk_delay_seconds: float = 0.02) -> web.Application:
    """The vendor's HTTP application. `api_key` is the only credential it takes; streams pause between two pieces."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    openai = Door(api_key, chunk_delay_seconds, openai_chat.error)
    anthropic = Door(api_key, chunk_delay_seconds, anthropic_messages.error)
    app.router.add_post("/v1/chat/completions", openai.answering(openai_chat.chat_completions))
    app.router.add_post("/v1/responses", openai.answering(openai_responses.responses))
    app.router.add_post("/v1/messages", anthropic.answering(anthropic_messages.messages))
    app.router.add_post("/v1/messages/count_tokens", anthropic.answering(anthropic_messages.count_tokens))
    for path, handler in openai_other.ROUTES.items():
        app.router.add_post(path, openai.guarded(handler))
    app.router.add_get("/v1/models", openai.guarded(_models))
    app.router.add_get("/healthz", _healthz)
    return app


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _models(request: web.Request) -> web.Response:
    if "anthropic-version" in request.headers:
        return web.json_response(anthropic_messages.model_list())
    return web.json_response(openai_chat.model_list())
