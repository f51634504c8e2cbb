"""What a response repeats of its call: SDKs type these fields as required, and agents read them. Pure."""

from collections.abc import Mapping
from typing import Any

_DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""OpenAI's own, and what stands there where the caller said nothing."""

_FIXED: dict[str, Any] = {"background": False, "previous_response_id": None, "store": False}
"""Whatever was asked, the relay keeps nothing."""


def echo_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of every response to this call, whose types were checked before."""
    said = {name: default if call.get(name) is None else call[name] for name, default in _DEFAULTS.items()}
    if said["text"].get("format") is None:
        said["text"] = said["text"] | _DEFAULTS["text"]
    return said | {"reasoning": {"effort": None, "summary": None} | (said["reasoning"] or {})} | _FIXED
