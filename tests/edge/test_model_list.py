"""The list of models and single models, in both vendors' forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from tests.edge.nouns import BINDING, MODEL, MODEL_ALIAS, POLICY, numbered
from tests.edge.plane import AUTHORIZED, Answer, Plane, catalog_of, running_plane
from tests.edge.vendor import Vendor

VERSION = "anthropic-version: 2023-06-01"
NAMES = ["demo-gpt", "demo-latest", "meta/llama:free", "zeta"]
ANTHROPIC = {"type": "model", "id": "meta/llama:free", "display_name": "meta/llama:free",
             "created_at": "2026-11-21T12:00:00Z"}  # fmt: skip


def rows_of(vendor: Vendor) -> list[nouns.Noun]:
    rows = [*catalog_of(vendor), MODEL_ALIAS]
    for number, name in ((2, "meta/llama:free"), (3, "zeta")):
        rows += [numbered(MODEL, number, name=name), numbered(BINDING, number, model_id=nouns.ModelId(number))]
    return rows


async def get(plane: Plane, path: str, *lines: str, method: str = "GET") -> Answer:
    caller = await plane.caller()
    await caller.send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: relay", AUTHORIZED, *lines, "", ""]).encode())
    return await caller.answer(method)


def ids(answer: Answer) -> list[str]:
    return [each["id"] for each in answer.json["data"]]


async def test_a_single_model() -> None:
    async with Vendor() as vendor, running_plane(rows_of(vendor)) as plane:
        for prefix in ("", "/openai"):
            for written in ("meta/llama:free", "meta%2Fllama%3afree", "meta%2fllama:free?x=1"):
                answer = await get(plane, f"{prefix}/v1/models/{written}")
                assert (answer.status, answer.json["id"]) == (200, "meta/llama:free")
                assert answer.json == {"id": "meta/llama:free", "object": "model", "created": 1795262400,
                                       "owned_by": "demo"}  # fmt: skip
        assert (await get(plane, "/v1/models/demo-latest")).json["id"] == "demo-latest"
        assert (await get(plane, "/v1/models/meta/llama:free", VERSION)).json == ANTHROPIC
        assert (await get(plane, "/anthropic/v1/models/meta%2Fllama:free")).json == ANTHROPIC
        head = await get(plane, "/v1/models/zeta", method="HEAD")
        whole = await get(plane, "/v1/models/zeta")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(whole.body)))


async def test_a_model_that_is_not_there() -> None:
    async with Vendor() as vendor, running_plane(rows_of(vendor)) as plane:
        for name in ("nothing", "zeta/", "", "%ff", "zeta%00", "a" * 4000):
            answer = await get(plane, f"/v1/models/{name}")
            assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")
            answer = await get(plane, f"/anthropic/v1/models/{name}")
            assert (answer.status, answer.json["error"]["type"]) == (404, "not_found_error")
        hidden = [replace(POLICY, models=("*", "-zeta")) if row is POLICY else row for row in rows_of(vendor)]
        plane.swap(hidden)
        assert (await get(plane, "/v1/models/zeta")).status == 404
        refused = await get(plane, "/v1/models/demo-gpt", method="DELETE")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("query", "names", "has_more"),
    [
        ("", NAMES, False),
        ("?limit=2", NAMES[:2], True),
        ("?limit=4", NAMES, False),
        ("?limit=2&after_id=demo-latest", NAMES[2:], False),
        ("?limit=1&after_id=demo-gpt", NAMES[1:2], True),
        ("?after_id=zeta", [], False),
        ("?limit=2&before_id=zeta", NAMES[1:3], True),
        ("?limit=9&before_id=meta%2Fllama%3Afree", NAMES[:2], False),
    ],
)
async def test_pages_in_anthropics_form(query: str, names: list[str], has_more: bool) -> None:
    async with Vendor() as vendor, running_plane(rows_of(vendor)) as plane:
        answer = await get(plane, f"/v1/models{query}", VERSION)
        assert ids(answer) == names
        ends: Any = (names[0], names[-1]) if names else (None, None)
        assert (answer.json["has_more"], answer.json["first_id"], answer.json["last_id"]) == (has_more, *ends)
        assert ids(await get(plane, f"/openai/v1/models{query}")) == NAMES


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=", "after_id=no", "before_id=no", "limit=%ff",
              "after_id=zeta&before_id=zeta", "&".join("a" * 20)]
)  # fmt: skip
async def test_a_bad_page(query: str) -> None:
    async with Vendor() as vendor, running_plane(rows_of(vendor)) as plane:
        answer = await get(plane, f"/v1/models?{query}", VERSION)
        assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
