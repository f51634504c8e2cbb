"""A relay in front of the demo vendor, with a model on a host of each shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from relay_contract import nouns
from relay_contract.nouns import Noun, WireShape
from standalone import demo_vendor
from tests.edge.nouns import BINDING, HOST, MODEL, POLICY, PROJECT, RELAY_KEY, numbered
from tests.edge.plane import Plane, host_key, running_plane
from tests.standalone.serving import served

HOST_KEY_VALUE = "sk-vendor-1"

SERVED = (
    ("demo-gpt", WireShape.OPENAI_CHAT, demo_vendor.OPENAI_MODEL),
    ("demo-claude", WireShape.ANTHROPIC_MESSAGES, demo_vendor.ANTHROPIC_MODEL),
    ("demo-responses", WireShape.OPENAI_RESPONSES, demo_vendor.OPENAI_MODEL),
    ("demo-embedding", WireShape.OPENAI_CHAT, demo_vendor.EMBEDDING_MODEL),
)
CONVERSING = tuple(name for name, _, _ in SERVED[:3])
"""Models that talk, one on a host of each shape."""


def catalog(base_url: str) -> list[Noun]:
    """The demo vendor as one host, with one key."""
    rows: list[Noun] = [POLICY, PROJECT, RELAY_KEY, replace(HOST, base_url=base_url), host_key(1, value=HOST_KEY_VALUE)]
    for number, (name, shape, upstream_name) in enumerate(SERVED, 1):
        model = numbered(MODEL, number, name=name)
        rows += [
            model,
            numbered(BINDING, number, model_id=nouns.ModelId(number), wire_shape=shape, upstream_name=upstream_name),
        ]
    return rows


@asynccontextmanager
async def running_relay() -> AsyncIterator[Plane]:
    """The plane, until the block ends."""
    async with (
        served(demo_vendor.application(HOST_KEY_VALUE, chunk_delay_seconds=0)) as vendor,
        running_plane(catalog(f"{vendor}/v1")) as plane,
    ):
        yield plane
