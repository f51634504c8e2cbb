"""The vendors' own clients, with nothing of theirs replaced but the address and who signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_sdk.tokens import Bearer

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from openai import AsyncOpenAI, OpenAI

_PLACEHOLDER = "put-there-by-relay-sdk"  # `Bearer` replaces it on each call


def openai(url: str, auth: Bearer, options: dict[str, Any]) -> OpenAI:
    """Raises ImportError without the extra `openai`."""
    from openai import DefaultHttpxClient, OpenAI  # noqa: PLC0415 (an extra)

    return OpenAI(**{**_to_openai(url), "http_client": DefaultHttpxClient(auth=auth), **options})


def async_openai(url: str, auth: Bearer, options: dict[str, Any]) -> AsyncOpenAI:
    """Raises ImportError without the extra `openai`."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # noqa: PLC0415

    return AsyncOpenAI(**{**_to_openai(url), "http_client": DefaultAsyncHttpxClient(auth=auth), **options})


def anthropic(url: str, auth: Bearer, options: dict[str, Any]) -> Anthropic:
    """Raises ImportError without the extra `anthropic`."""
    from anthropic import Anthropic, DefaultHttpxClient  # noqa: PLC0415

    return Anthropic(**{**_to_anthropic(url), "http_client": DefaultHttpxClient(auth=auth), **options})


def async_anthropic(url: str, auth: Bearer, options: dict[str, Any]) -> AsyncAnthropic:
    """Raises ImportError without the extra `anthropic`."""
    from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient  # noqa: PLC0415

    return AsyncAnthropic(**{**_to_anthropic(url), "http_client": DefaultAsyncHttpxClient(auth=auth), **options})


def _to_openai(url: str) -> dict[str, str]:
    return {"base_url": f"{url}/v1", "api_key": _PLACEHOLDER}


def _to_anthropic(url: str) -> dict[str, str]:
    return {"base_url": url, "auth_token": _PLACEHOLDER}
