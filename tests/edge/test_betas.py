"""Which betas of Anthropic's reach hosts, and what the caller is told of the others."""

from __future__ import annotations

import pytest

from relay_contract.errors import BadHeader
from relay_contract.nouns import WireShape
from relay_edge.protocols.anthropic_messages import AllowedBetas
from relay_edge.protocols.anthropic_messages.betas import MAX_REMEMBERED
from tests.edge.plane import catalog_of, running_plane
from tests.edge.vendor import PATHS, Vendor

ANTHROPIC, OPENAI = WireShape.ANTHROPIC_MESSAGES, WireShape.OPENAI_CHAT
CALL = {"model": "demo-gpt", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
CLAUDE_CODE = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,effort-2025-11-24"


def asked(value: str, patterns: str = "default") -> tuple[bytes, tuple[str, ...]]:
    found = AllowedBetas(patterns).asked({"anthropic-beta": value})
    return found.line, () if found.notes is None else found.notes.all()


@pytest.mark.parametrize(
    ("value", "kept", "dropped"),
    [
        (CLAUDE_CODE, CLAUDE_CODE, ()),
        (" effort-1 , effort-2,", "effort-1,effort-2", ()),
        ("files-api-2025-04-14", "", ("files-api-2025-04-14",)),
        ("effort-1,oauth-2025-04-20,fast-mode-2026-02-01", "effort-1", ("oauth-2025-04-20", "fast-mode-2026-02-01")),
        ("output-128k-2025-02-19,compact-2026-01-12", "output-128k-2025-02-19", ("compact-2026-01-12",)),
        ("my-effort-1,EFFORT-1", "", ("my-effort-1", "effort-1")),
        ("", "", ()),
        ("effort-1\tx", None, ()),
        ("x" * 1025, None, ()),
    ],
)
def test_betas_are_kept_by_the_list(value: str, kept: str | None, dropped: tuple[str, ...]) -> None:
    if kept is None:
        with pytest.raises(BadHeader):
            asked(value)
        return
    line = f"anthropic-beta: {kept}\r\n".encode() if kept else b""
    assert asked(value) == (line, tuple(f"dropped:anthropic-beta.{name}" for name in dropped))


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        ("*", "effort-1,files-api-1"),
        ("default, files-api-*", "effort-1,files-api-1"),
        ("files-*", "files-api-1"),
        ("none", ""),
        (",", ""),
    ],
)
def test_an_operator_chooses_the_list(patterns: str, kept: str) -> None:
    assert asked("effort-1,files-api-1", patterns)[0] == (f"anthropic-beta: {kept}\r\n".encode() if kept else b"")


def test_a_judgement_is_remembered_and_the_memory_bounded() -> None:
    betas = AllowedBetas()
    first = betas.asked({"anthropic-beta": "effort-0"})
    assert betas.asked({"anthropic-beta": "effort-0"}) is first
    for number in range(1, MAX_REMEMBERED + 1):
        betas.asked({"anthropic-beta": f"effort-{number}"})
    assert betas.asked({"anthropic-beta": "effort-0"}) is not first
    assert len(betas._judged) == 2


def test_no_secret_is_told_in_a_warning() -> None:
    assert asked("rk_live_0123456789abcdefghijklmnopqrstuvwxyzABCDEF")[1][0].count("0123456789") == 0


@pytest.mark.parametrize("path", [PATHS[ANTHROPIC], "/v1/messages/count_tokens"])
async def test_the_caller_is_told_what_was_dropped(path: str) -> None:
    async with Vendor(ANTHROPIC, path=path) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL, "anthropic-beta: files-api-1, effort-1", path=path)
        assert (answer.status, answer.headers["x-relay-warnings"]) == (200, "dropped:anthropic-beta.files-api-1")
        assert vendor.calls[0].header("anthropic-beta") == "effort-1"
        notes = plane.served[0].notes
        assert notes is not None
        assert notes.all() == ("dropped:anthropic-beta.files-api-1",)
        kept = await plane.post(CALL, "anthropic-beta: effort-1", path=path)
        assert "x-relay-warnings" not in kept.headers


async def test_a_refusal_says_what_was_dropped_too() -> None:
    async def refusing(_call: object, wire: object) -> None:
        await wire.answer(b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}', 400)  # type: ignore[attr-defined]  # a Wire

    async with Vendor(ANTHROPIC, answer=refusing) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL, "anthropic-beta: files-api-1", path=PATHS[ANTHROPIC])
        assert (answer.status, answer.headers["x-relay-warnings"]) == (400, "dropped:anthropic-beta.files-api-1")


async def test_a_host_of_another_shape_gets_none() -> None:
    async with Vendor(OPENAI) as vendor, running_plane(catalog_of(vendor), betas="*") as plane:
        answer = await plane.post(CALL, "anthropic-beta: files-api-1", path=PATHS[ANTHROPIC])
        assert answer.status == 200
        assert vendor.calls[0].header("anthropic-beta") is None
