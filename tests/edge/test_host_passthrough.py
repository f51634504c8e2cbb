"""Raw calls: what may be called, what passes, what does not, and which key is used."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.errors import BadRequest, NotFound
from relay_contract.ids import uuid7_text
from relay_contract.nouns import WireShape
from relay_contract.pricing import PriceMeter, Rate
from relay_contract.usage import Usage, UsageSource
from relay_edge.call_record import Bill
from relay_edge.call_rows import CallToKeep, bill_of
from relay_edge.protocols.raw_calls import named_model
from relay_edge.raw_path import RawPath, read_raw_path
from tests.edge.nouns import MODEL, POLICY, PRICING, RATE_LIMIT, RELAY_KEY, numbered
from tests.edge.plane import AUTHORIZED, MAX_BODY_BYTES, Answer, Plane, catalog_of, host_key, running_plane
from tests.edge.vendor import Vendor, VendorCall, Wire

FILES = "/passthrough/vendor-1/files"


class AnyVendor(Vendor):
    """Takes any method, path and body; still nothing of the caller's that it must not see."""

    def _check(self, call: VendorCall) -> None:
        names = {name for name, _ in call.headers}
        assert not names & {"cookie", "connection", "x-secret", "transfer-encoding", "expect", "x-relay-tags"}
        assert not any("rk_" in value for _, value in call.headers)


def rows_of(vendor: Vendor, *paths: str, keys: int = 1) -> list[nouns.Noun]:
    listed = paths or ("/files", "/batches/*")
    return [
        replace(row, passthrough_paths=listed) if isinstance(row, nouns.Host) else row
        for row in catalog_of(vendor, keys=keys)
    ]


async def call(plane: Plane, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> Answer:
    caller = await plane.caller()
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [f"{method} {path} HTTP/1.1", "Host: relay", AUTHORIZED, *length, *lines, "", ""]
    await caller.send("\r\n".join(head).encode("latin-1") + body)
    return await caller.answer(method)


# --- what passes ---


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_call_passes_as_it_is(method: str) -> None:
    async def answer(call: VendorCall, wire: Wire) -> None:
        await wire.answer(
            b'{"id":"x"}', 201, "x-own: 1", "set-cookie: a=b", "openai-organization: secret", "x-q: sk-vendor-1"
        )

    body = b"" if method == "GET" else b"\x00\xff body"
    async with AnyVendor(answer=answer) as vendor, running_plane(rows_of(vendor)) as plane:
        given = await call(
            plane, "/passthrough/vendor-1/batches/a%20b?limit=2&x=%2F", "Cookie: a=b", "Connection: x-secret",
            "X-Secret: s", "OpenAI-Beta: assistants=v2", "X-Api-Key: sk-of-the-caller", "OpenAI-Organization: mine",
            "Accept: text/plain", "X-Forwarded-For: 1.2.3.4", method=method, body=body,
        )  # fmt: skip
        assert (given.status, given.body, given.headers["x-own"]) == (201, b'{"id":"x"}', "1")
        assert given.headers.keys().isdisjoint({"set-cookie", "openai-organization", "x-q"})
        assert (given.headers["x-relay-host"], given.headers["x-relay-attempts"]) == ("vendor-1", "1")
        [sent] = vendor.calls
        assert (sent.method, sent.path, sent.body) == (method, "/v1/batches/a%20b?limit=2&x=%2F", body)
        assert sent.header("authorization") == "Bearer sk-vendor-1"
        assert (sent.header("openai-beta"), sent.header("accept")) == ("assistants=v2", "text/plain")
        for name in ("x-api-key", "openai-organization", "x-forwarded-for", "x-request-id"):
            assert sent.header(name) is None
        [record] = plane.served
        assert (record.surface, record.model, record.host, record.tries, record.status) == (
            "passthrough", "", "vendor-1", 1, 201,
        )  # fmt: skip


async def test_credentials_are_of_the_hosts_shape() -> None:
    async with AnyVendor(WireShape.ANTHROPIC_MESSAGES) as vendor, running_plane(rows_of(vendor)) as plane:
        await call(plane, FILES)
        await call(plane, FILES, "anthropic-version: 2026-10-21", "anthropic-beta: files")
        first, second = vendor.calls
        assert (first.header("x-api-key"), first.header("authorization")) == ("sk-vendor-1", None)
        assert (first.header("anthropic-version"), second.header("anthropic-version")) == ("2023-06-01", "2026-10-21")
        assert second.header("anthropic-beta") == "files"
        unbound = [row for row in rows_of(vendor) if not isinstance(row, nouns.HostBinding)]
        plane.swap(unbound)
        await call(plane, FILES)
        assert vendor.calls[2].header("authorization") == "Bearer sk-vendor-1"


async def test_head() -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/plain", "content-length: 7")

    async with AnyVendor(answer=answer) as vendor, running_plane(rows_of(vendor)) as plane:
        given = await call(plane, FILES, method="HEAD")
        assert (given.status, given.headers["content-length"], given.body) == (200, "7", b"")
        assert plane.served[0].error == ""


async def test_streams_and_errors_pass_and_usage_is_noted() -> None:
    answers: list[Any] = []

    async def answer(_call: VendorCall, wire: Wire) -> None:
        if answers[-1] == "stream":
            await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
            await wire.chunk(b"event: x\ndata: no json\n\n")
            await wire.send(b"0\r\n\r\n")
        else:
            await wire.answer(json.dumps(answers[-1]).encode(), 404 if "error" in answers[-1] else 200)

    async with AnyVendor(answer=answer) as vendor, running_plane(rows_of(vendor)) as plane:
        for given in ("stream", {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}, {"error": {"message": "no"}}):
            answers.append(given)
            answer_ = await call(plane, FILES, method="POST", body=b"{}")
            assert answer_.body == (b"event: x\ndata: no json\n\n" if given == "stream" else json.dumps(given).encode())
        assert [(each.status, each.usage, each.usage_source) for each in plane.served] == [
            (200, None, UsageSource.NONE),
            (200, Usage(input_tokens=5, output_tokens=2), UsageSource.PROVIDER),
            (404, None, UsageSource.NONE),
        ]


# --- what it used, and at which price ---

SAID = {"prompt_tokens": 5, "completion_tokens": 2}
COST = 5 * 1_250 + 2 * 10_000


def priced(vendor: Vendor) -> list[nouns.Noun]:
    """`gpt-x` of the host has a price; so has `gpt-y`, which is another model, and `gpt-z` has none."""
    other = numbered(MODEL, 2, name="demo-other")
    dear = numbered(PRICING, 2, rates=(Rate(PriceMeter.INPUT, 7_000_000_000),))
    [binding] = [row for row in rows_of(vendor) if isinstance(row, nouns.HostBinding)]
    further = [
        replace(binding, pricing_id=PRICING.id),
        numbered(binding, 2, upstream_name="gpt-y", model_id=other.id, pricing_id=dear.id),
        numbered(binding, 3, upstream_name="gpt-z"),
        numbered(binding, 4, upstream_name="gpt-off", pricing_id=PRICING.id, is_enabled=False),
    ]
    return [*(row for row in rows_of(vendor) if row is not binding), PRICING, other, dear, *further]


def saying(*answers: Any) -> Any:
    left = list(answers)

    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(json.dumps(left.pop(0)).encode())

    return answer


@pytest.mark.parametrize(
    ("unpriced", "status", "cost"),
    [
        (nouns.Unpriced.DENY, 403, None),
        (nouns.Unpriced.ALLOW, 200, None),
        (nouns.Unpriced.ESTIMATE, 200, 35_000),
    ],
)
async def test_what_has_no_price_is_up_to_the_policy(unpriced: nouns.Unpriced, status: int, cost: int | None) -> None:
    async with AnyVendor(answer=saying({"usage": SAID}, {"usage": SAID})) as vendor:
        rows = [
            replace(row, unpriced=unpriced, estimate_pricing_id=2) if isinstance(row, nouns.Policy) else row
            for row in priced(vendor)
        ]
        async with running_plane(rows) as plane:
            json_type, priced_name = "Content-Type: application/json", b'{"model":"gpt-x"}'
            given = await call(plane, FILES, json_type, method="POST", body=b'{"model":"gpt-z"}')
            assert given.status == status
            assert len(vendor.calls) == (status == 200)
            assert bill_of(plane.served[0]).cost_nanousd == cost
            if status == 403:  # also of a model that has a price: it may use another
                assert given.json["error"]["code"] == "model_unpriced"
                assert (await call(plane, FILES, json_type, method="POST", body=priced_name)).status == 403


@pytest.mark.parametrize(
    ("method", "asked", "said", "model", "binding", "cost"),
    [
        ("POST", {"model": "gpt-x"}, {"usage": SAID}, "demo-gpt", 1, COST),
        ("POST", {"model": "gpt-x"}, {"usage": SAID, "model": "gpt-x-2026-11-01"}, "demo-gpt", 1, COST),
        ("POST", {"model": "gpt-x"}, {"usage": SAID, "model": "gpt-y"}, "demo-other", 2, 35_000),
        ("POST", {"model": "latest"}, {"usage": SAID, "model": "gpt-x"}, "demo-gpt", 1, COST),
        ("POST", {"model": "gpt-z"}, {"usage": SAID}, "demo-gpt", 3, None),
        ("POST", {"model": "gpt-off"}, {"usage": SAID}, "", None, None),
        ("POST", {"model": "demo-gpt"}, {"usage": SAID}, "", None, None),  # the host has no such name
        ("POST", {"metadata": {}}, {"usage": SAID, "model": "gpt-x"}, "", None, None),  # of what was made before
        ("POST", {"model": 1}, {"usage": SAID, "model": "gpt-x"}, "", None, None),
    ],
)
async def test_a_usage_is_priced_where_the_model_is_known(  # noqa: PLR0917  # a case
    method: str, asked: Any, said: Any, model: str, binding: int | None, cost: int | None
) -> None:
    async with AnyVendor(answer=saying(said)) as vendor, running_plane(priced(vendor)) as plane:
        body = json.dumps(asked).encode()
        given = await call(plane, FILES, "Content-Type: application/json", method=method, body=body)
        assert given.json == said
        [record] = plane.served
        row = json.loads(CallToKeep(record).encoded())
        names = ("surface", "model", "binding_id", "cost_nanousd", "usage_source", "input_tokens", "output_tokens")
        assert [row[name] for name in names] == ["passthrough", model, binding, cost, "provider", 5, 2]
        assert (row["host"], row["host_key_id"], row["attempts"]) == ("vendor-1", 1, 1)
        name = asked.get("model")
        assert row["requested_model"] == (name if isinstance(name, str) else "")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_what_is_fetched_was_used_before(method: str) -> None:
    said = {"usage": SAID, "model": "gpt-x"}
    async with AnyVendor(answer=saying(said)) as vendor, running_plane(priced(vendor)) as plane:
        body = b"" if method == "GET" else b'{"model":"gpt-x"}'
        assert (await call(plane, FILES, "Content-Type: application/json", method=method, body=body)).json == said
        assert (bill_of(plane.served[0]), plane.served[0].requested_model) == (
            Bill(Usage(), UsageSource.NONE, None),
            "",
        )


async def test_an_answer_that_says_nothing_costs_nothing_that_anybody_knows() -> None:
    job = saying({"id": "job-1", "model": "gpt-x"})
    async with AnyVendor(answer=job) as vendor, running_plane(priced(vendor)) as plane:
        await call(plane, FILES, "Content-Type: application/json", method="POST", body=b'{"model":"gpt-x"}')
        bill = bill_of(plane.served[0])
        assert (bill.source, bill.cost_nanousd) == (UsageSource.NONE, None)


@pytest.mark.parametrize(
    ("shape", "events", "used", "cost"),
    [
        (
            WireShape.ANTHROPIC_MESSAGES,
            [
                {
                    "type": "message_start",
                    "message": {"model": "gpt-x", "usage": {"input_tokens": 9, "output_tokens": 1}},
                },
                {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 4}},
            ],
            Usage(input_tokens=9, output_tokens=4),
            9 * 1_250 + 4 * 10_000,
        ),
        (
            WireShape.OPENAI_CHAT,
            [
                {"type": "response.created", "response": {"model": "gpt-x", "usage": None}},
                {
                    "type": "response.completed",
                    "response": {"model": "gpt-x", "usage": {"input_tokens": 5, "output_tokens": 2}},
                },
            ],
            Usage(input_tokens=5, output_tokens=2),
            COST,
        ),
        (
            WireShape.OPENAI_CHAT,
            [{"model": "gpt-x", "choices": [{}], "usage": None}, {"model": "gpt-x", "choices": [], "usage": SAID}],
            Usage(input_tokens=5, output_tokens=2),
            COST,
        ),
        (
            WireShape.GEMINI,
            [{"modelVersion": "gpt-x", "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2}}],
            Usage(input_tokens=5, output_tokens=2),
            COST,
        ),
    ],
)
async def test_streams_tell_it_in_each_vendors_way(shape: WireShape, events: list[Any], used: Usage, cost: int) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        for event in events:
            await wire.chunk(b"data: %b\n\n" % json.dumps(event).encode())
        await wire.send(b"0\r\n\r\n")

    async with AnyVendor(shape, answer=answer) as vendor, running_plane(priced(vendor)) as plane:
        given = await call(plane, FILES, "Content-Type: application/json", method="POST", body=b'{"model":"latest"}')
        assert given.body.count(b"data: ") == len(events)
        assert bill_of(plane.served[0]) == Bill(used, UsageSource.PROVIDER, cost, charge=cost or 0)


@pytest.mark.parametrize(
    ("method", "path", "content_type", "body", "found"),
    [
        ("POST", "/x", "application/json; charset=utf-8", b'{"model":"a"}', "a"),
        ("POST", "/x", "application/json", b'{"model":', None),
        ("POST", "/x", "application/json", b"[]", None),
        ("POST", "/x", "application/octet-stream", b'{"model":"a"}', None),
        ("PUT", "/x", "application/json", b'{"model":"a"}', None),
        ("POST", "/models/gemini-2.5%2Dflash:generateContent", "application/json", b"{}", "gemini-2.5-flash"),
        ("POST", "/tunedModels/mine:streamGenerateContent", "application/json", b"{}", "tunedModels/mine"),
        ("POST", "/batches/x:cancel", "application/json", b"{}", None),
        (
            "POST", "/x", "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--b--\r\n', "a",
        ),
        ("POST", "/x", "multipart/form-data; boundary=b", b"--b", None),
    ],
)  # fmt: skip
def test_the_model_that_a_raw_call_names(
    method: str, path: str, content_type: str, body: bytes, found: str | None
) -> None:
    assert named_model(method, path, content_type, body) == found


# --- breakers ---


@pytest.mark.parametrize("fault", [500, 503, "silence", "nothing"])
async def test_a_host_that_fails_over_a_model_opens_its_bindings_breaker(fault: Any) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        if isinstance(fault, int):
            await wire.answer(b'{"error":"no"}', fault)
        elif fault == "nothing":
            wire.close()
        else:
            await asyncio.sleep(30)

    async with AnyVendor(answer=answer) as vendor:
        rows = [
            replace(row, first_byte_timeout_ms=100) if isinstance(row, nouns.Host) else row for row in priced(vendor)
        ]
        async with running_plane(rows) as plane:
            for _ in range(3):
                given = await call(
                    plane, FILES, "Content-Type: application/json", method="POST", body=b'{"model":"gpt-x"}'
                )
                assert given.status == {"silence": 504, "nothing": 502}.get(fault, fault)
            sent = len(vendor.calls)
            given = await call(plane, FILES, "Content-Type: application/json", method="POST", body=b'{"model":"gpt-x"}')
            assert (given.status, given.json["error"]["code"], len(vendor.calls)) == (503, "no_host_key", sent)
            # The key is as good as before: another model, and a call of none, are sent.
            await call(plane, FILES, "Content-Type: application/json", method="POST", body=b'{"model":"gpt-y"}')
            await call(plane, FILES)
            assert len(vendor.calls) == sent + 2


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b'{"model":"nobody"}'), ("POST", b"{}")])
async def test_a_call_of_no_model_that_is_known_opens_nothing(method: str, body: bytes) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"error":"no"}', 500)

    async with AnyVendor(answer=answer) as vendor, running_plane(priced(vendor)) as plane:
        for _ in range(8):
            assert (await call(plane, FILES, "Content-Type: application/json", method=method, body=body)).status == 500
        assert len(vendor.calls) == 8


async def test_the_callers_own_mistakes_open_nothing() -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"error":"no"}', 404)

    async with AnyVendor(answer=answer) as vendor, running_plane(priced(vendor)) as plane:
        for _ in range(8):
            given = await call(plane, FILES, "Content-Type: application/json", method="POST", body=b'{"model":"gpt-x"}')
            assert given.status == 404


# --- keys ---


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_another_key_is_tried_where_the_first_is_refused(status: int) -> None:
    async def answer(call: VendorCall, wire: Wire) -> None:
        is_first = call.header("authorization") == "Bearer sk-vendor-1"
        await wire.answer(b'{"error":{"message":"sk-vendor-1"}}' if is_first else b"{}", status if is_first else 200)

    async with AnyVendor(answer=answer) as vendor, running_plane(rows_of(vendor, keys=2)) as plane:
        given = await call(plane, FILES, method="POST", body=b"x")
        assert (given.status, given.headers["x-relay-attempts"]) == (200, "2")
        plane.swap(rows_of(vendor))
        assert (await call(plane, FILES)).status == 503  # its breaker is open


@pytest.mark.parametrize(("status", "told"), [(401, 503), (403, 503), (429, 429)])
async def test_what_is_told_of_the_only_key(status: int, told: int) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"error":{"message":"sk-vendor-1"}}', status, "retry-after: 7")

    async with AnyVendor(answer=answer) as vendor, running_plane(rows_of(vendor)) as plane:
        given = await call(plane, FILES)
        assert given.status == told
        assert b"sk-vendor" not in given.body
        assert len(vendor.calls) == 1
        if told == status:
            assert given.headers["retry-after"] == "7"


async def test_another_failure_is_the_callers_to_see() -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"error":"no"}', 500)

    async with AnyVendor(answer=answer) as vendor, running_plane(rows_of(vendor, keys=3)) as plane:
        given = await call(plane, FILES)
        assert (given.status, given.json, given.headers["x-relay-error-source"]) == (500, {"error": "no"}, "upstream")
        assert len(vendor.calls) == 1


async def test_a_cut_answer_stays_cut() -> None:
    async def cutting(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/plain", "content-length: 9")
        await wire.send(b"half")
        wire.close()

    async with AnyVendor(answer=cutting) as vendor, running_plane(rows_of(vendor, keys=2)) as plane:
        given = await call(plane, FILES)
        assert (given.body, given.is_whole) == (b"half", False)
        assert len(vendor.calls) == 1


async def test_a_captured_answer_that_quotes_the_key_hides_it() -> None:
    async with AnyVendor(keys=("plain-value-1",), answer=saying({"by": "plain-value-1"})) as vendor:
        rows = [
            host_key(1, value="plain-value-1") if isinstance(row, nouns.HostKey) else row for row in rows_of(vendor)
        ]
        rows = [replace(POLICY, captures_payloads=True) if row is POLICY else row for row in rows]
        async with running_plane(rows) as plane:
            await call(plane, FILES)
            capture = plane.served[0].capture
            assert capture is not None
            assert capture.row(uuid7_text(), 0.0).response == '{"by": "[redacted]"}'


# --- who may, and what ---


@pytest.mark.parametrize(
    ("models", "may"),
    [
        (("*",), True),
        (("*@vendor-1",), True),
        (("*", "-gpt-5@other"), True),
        (("*", "-gpt-5"), False),
        (("*", "-gpt-5@vendor-1"), False),
        (("*@vendor-1", "-openai/*"), False),
        (("gpt-*",), False),
        (("demo/*",), False),
        (("*@other",), False),
        ((), False),
    ],
)
async def test_the_policy_grants_everything_on_the_host(models: tuple[str, ...], may: bool) -> None:
    async with AnyVendor() as vendor:
        rows = [replace(POLICY, models=models) if row is POLICY else row for row in rows_of(vendor)]
        async with running_plane(rows) as plane:
            given = await call(plane, FILES, method="POST", body=b"{}")
            assert given.status == (200 if may else 403)
            assert len(vendor.calls) == may


async def test_keys_that_make_no_raw_calls() -> None:
    limit = replace(RATE_LIMIT, rules=(nouns.Rule(nouns.Meter.COST, 5, 60),))
    async with AnyVendor() as vendor:
        for changes, words in (
            ({"policy_id": None}, "no policy"),
            ({"scopes": (nouns.Scope.RELAY,)}, "scope"),
            ({"rate_limit_id": limit.id}, "limit of tokens or cost"),
        ):
            changed: Any = replace(RELAY_KEY, **changes)  # type: ignore[arg-type]  # one of them each
            rows = [*(changed if row is RELAY_KEY else row for row in rows_of(vendor)), limit]
            async with running_plane(rows) as plane:
                given = await call(plane, FILES)
                assert given.status == 403
                assert words in given.json["error"]["message"]
        assert vendor.calls == []


async def test_bad_input() -> None:
    async with AnyVendor() as vendor, running_plane(rows_of(vendor)) as plane:
        for path, status in (
            ("/passthrough/vendor-1/filesystem", 404),
            ("/passthrough/vendor-1/files/x", 404),
            ("/passthrough/vendor-1/batches", 404),
            ("/passthrough/vendor-1/Files", 404),
            ("/passthrough/vendor-1", 404),
            ("/passthrough/nobody/files", 404),
            ("/passthrough/", 404),
            ("/passthrough/vendor-1/batches/../files", 400),
            ("/passthrough/vendor-1/batches/%2e%2e/files", 400),
        ):
            given = await call(plane, path)
            assert (given.status, set(given.json)) == (status, {"error"})
            assert given.json["error"]["type"] in ("not_found_error", "invalid_request_error")
            named = await call(plane, path, "anthropic-version: 2023-06-01")
            assert (named.status, named.json["type"]) == (status, "error")
        refused = await call(plane, FILES, method="OPTIONS")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, POST, PUT, PATCH, DELETE")
        large = await call(plane, FILES, method="POST", body=b"a" * (MAX_BODY_BYTES + 1))
        assert large.status == 413
        plane.swap([replace(row, is_enabled=False) if isinstance(row, nouns.Host) else row for row in rows_of(vendor)])
        assert (await call(plane, FILES)).status == 404
        plane.swap([row for row in rows_of(vendor) if not isinstance(row, nouns.HostKey)])
        assert (await call(plane, FILES)).status == 503
        assert vendor.calls == []


@pytest.mark.parametrize(
    "path",
    ["/a/../b", "/../a", "/a//b", "//a", "/a/./b", "/a/..;/b", "/.a", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b",
     "/%2e%2e/b", "/a%252fb", "/a%00b", "/a%0d%0ab", "/a%7f", "/a%zz", "/a%", "/a%23b", "/a\x7f", "/\xe9"],
)  # fmt: skip
def test_paths_that_two_readers_could_understand_differently(path: str) -> None:
    with pytest.raises(BadRequest):
        read_raw_path(f"/passthrough/vendor{path}")


@pytest.mark.parametrize("target", ["/passthrough/", "/passthrough/vendor", "/passthrough/Vendor/a", "/passthrough//a"])
def test_no_host(target: str) -> None:
    with pytest.raises(NotFound):
        read_raw_path(target)


def test_a_plain_path() -> None:
    found = read_raw_path("/passthrough/vendor/files/a-b_c~1:2?x=../%2f")
    assert found == RawPath("vendor", "/files/a-b_c~1:2", "?x=../%2f")
    assert [found.is_in([pattern]) for pattern in ("/files/*", "/files/a-b_c~1:2", "*", "/files", "/file", "/x*")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert not found.is_in([])
