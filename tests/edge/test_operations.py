"""What is no conversation: embeddings, images, audio, moderations, rerank, from a caller's socket to a host's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.nouns import FallbackCondition, WireShape
from relay_contract.pricing import PriceMeter, Rate
from relay_contract.usage import Usage, UsageSource
from relay_edge.call_rows import bill_of, used
from relay_edge.protocols import COUNT_TOKENS, OTHERS
from tests.edge.nouns import BINDING, HOST, MODEL, POLICY, PRICING, numbered
from tests.edge.plane import AUTHORIZED, MAX_BODY_BYTES, catalog_of, host_key, running_plane
from tests.edge.vendor import Vendor, VendorCall, Wire

CHAT, RESPONSES, MESSAGES = WireShape.OPENAI_CHAT, WireShape.OPENAI_RESPONSES, WireShape.ANTHROPIC_MESSAGES
BOUNDARY = "x-Boundary_7"
FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
EMBEDDINGS = "/v1/embeddings"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
OF_JSON = pytest.mark.parametrize("operation", OTHERS, ids=[each.path for each in OTHERS])


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form of these parts, each given with what stands behind `name=`."""
    pieces = [
        b"--%b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), name.encode(), value)
        for name, value in parts
    ]
    return b"".join(pieces) + b"--%b--\r\n" % BOUNDARY.encode()


def answering(document: Any) -> Any:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(json.dumps(document).encode())

    return answer


# --- what passes ---


@pytest.mark.parametrize("shape", [CHAT, RESPONSES])
@pytest.mark.parametrize("prefix", ["", "/openai"])
@OF_JSON
async def test_json_passes_with_only_the_model_changed(operation: Any, prefix: str, shape: WireShape) -> None:
    body = b'{"input": ["a", "h\\u00e9"] ,"odd":1.0, "model" :\t"demo-gpt","x":{"b":1}}'
    async with (
        Vendor(shape, path=operation.path, answer=answering({"made": 1})) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        answer = await plane.post(body, path=prefix + operation.path)
        assert (answer.status, answer.body) == (200, b'{"made": 1}')
        assert vendor.calls[0].body == body.replace(b'"demo-gpt"', b'"gpt-x"')
        assert answer.headers["x-relay-host"] == "vendor-1"
        assert [(each.surface, each.status, each.tries) for each in plane.served] == [(operation.name, 200, 1)]


@pytest.mark.parametrize(
    "path", ["/v1/images/edits", "/v1/images/variations", TRANSCRIPTIONS, "/v1/audio/translations"]
)
async def test_a_form_passes_with_only_the_model_changed(path: str) -> None:
    blob = bytes(range(256)) * 20 + b"\r\n--x-Boundary\r\nContent-Disposition: form-data; name=model\r\n\r\nother\r\n"
    body = form(('"file"; filename="a \xe9.mp3"', blob), ('"model"', b"demo-gpt"), ('"prompt"', b"hi\r\n"))
    async with (
        Vendor(path=path, takes="multipart/form-data", answer=answering({"text": "hello"})) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        answer = await plane.post(body, FORM, path=path)
        assert answer.json == {"text": "hello"}
        assert vendor.calls[0].body == body.replace(b"demo-gpt", b"gpt-x")
        assert vendor.calls[0].header("content-type") == FORM.partition(": ")[2]
        usage, source = used(plane.served[0])
        assert (usage.input_tokens, source) == (1600 + 3, UsageSource.ESTIMATED)  # a file; 12 characters


PER_SECOND = replace(PRICING, rates=(Rate(PriceMeter.INPUT_AUDIO_SECOND, 100_000_000_000),))
"""whisper-1: 0.006 USD a minute."""


@pytest.mark.parametrize(
    ("content_type", "said", "seconds", "source"),
    [
        ("application/json", b'{"text":"hi","usage":{"type":"duration","seconds":61}}', 61, UsageSource.PROVIDER),
        ("application/json", b'{"text":"hi","duration":60.2}', 61, UsageSource.PROVIDER),
        ("text/plain", b"hi", 3, UsageSource.ESTIMATED),  # 9,000 bytes at 32 kbit/s, rounded up
    ],
)
async def test_sound_is_billed_by_its_length(content_type: str, said: bytes, seconds: int, source: UsageSource) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, f"content-type: {content_type}", f"content-length: {len(said)}")
        await wire.send(said)

    body = form(("model", b"demo-gpt"), ('"file"; filename="a.mp3"', b"x" * 9_000))
    async with Vendor(path=TRANSCRIPTIONS, takes="multipart/form-data", answer=answer) as vendor:
        rows = [replace(row, pricing_id=PRICING.id) if isinstance(row, nouns.HostBinding) else row
                for row in catalog_of(vendor)]  # fmt: skip
        async with running_plane([*rows, PER_SECOND]) as plane:
            assert (await plane.post(body, FORM, path=TRANSCRIPTIONS)).body == said
            bill = bill_of(plane.served[0])
            assert (bill.usage.input_audio_seconds, bill.source, bill.cost_nanousd) == (
                seconds,
                source,
                seconds * 10**5,
            )


async def test_pictures_are_not_listened_to() -> None:
    path = "/v1/images/edits"
    body = form(("model", b"demo-gpt"), ('"image"; filename="a.png"', b"x" * 9_000))
    async with (
        Vendor(path=path, takes="multipart/form-data", answer=answering({"data": []})) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        await plane.post(body, FORM, path=path)
        assert plane.served[0].audio_bytes == used(plane.served[0])[0].input_audio_seconds == 0


async def test_sound_passes_as_it_is() -> None:
    sound = b"ID3\x00\xff" * 50_000

    async def speaking(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: audio/mpeg", "transfer-encoding: chunked", "content-disposition: inline")
        for start in range(0, len(sound), 100_000):
            await wire.chunk(sound[start : start + 100_000])
        await wire.send(b"0\r\n\r\n")

    async with Vendor(path="/v1/audio/speech", answer=speaking) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post({"model": "demo-gpt", "input": "hi", "stream": True}, path="/v1/audio/speech")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, "audio/mpeg", sound)
        assert answer.is_whole
        assert plane.served[0].first_token is not None


async def test_a_stream_of_images_passes_and_is_metered() -> None:
    events = [
        b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"aGk="}\n\n',
        (
            b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"aGk=","usage":'
            b'{"input_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40},"output_tokens":100}}\n\n'
        ),
    ]

    async def streaming(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        for event in events:
            await wire.chunk(event)
        await wire.send(b"0\r\n\r\n")

    async with (
        Vendor(path="/v1/images/generations", answer=streaming) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        answer = await plane.post({"model": "demo-gpt", "stream": True}, path="/v1/images/generations")
        assert answer.body == b"".join(events)
        usage = Usage(input_tokens=10, input_image_tokens=40, output_image_tokens=100)
        assert (plane.served[0].usage, plane.served[0].usage_source) == (usage, UsageSource.PROVIDER)


async def test_a_cut_stream_stays_cut() -> None:
    async def cutting(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(b'data: {"type":"transcript.text.delta","delta":"hello you"}\n\n')
        wire.close()

    async with (
        Vendor(path=TRANSCRIPTIONS, answer=cutting, takes="multipart/form-data") as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        answer = await plane.post(form(("model", b"demo-gpt"), ("stream", b"true")), FORM, path=TRANSCRIPTIONS)
        assert (answer.status, answer.is_whole, answer.closes) == (200, False, False)
        [record] = plane.served
        assert (record.is_stream, record.error, record.delivered_characters) == (True, "upstream_protocol_error", 9)


# --- usage ---


@pytest.mark.parametrize(
    ("path", "said", "usage"),
    [
        (EMBEDDINGS, {"usage": {"prompt_tokens": 9, "total_tokens": 9}}, Usage(input_tokens=9)),
        (EMBEDDINGS, {"usage": {"total_tokens": 9}}, Usage(input_tokens=9)),
        (
            "/v1/images/generations",
            {
                "usage": {
                    "input_tokens": 60,
                    "input_tokens_details": {
                        "text_tokens": 20, "image_tokens": 40, "cached_tokens": 30,
                        "cached_tokens_details": {"image_tokens": 25, "text_tokens": 5},
                    },
                    "output_tokens": 110,
                    "output_tokens_details": {"image_tokens": 100, "text_tokens": 10},
                }
            },
            Usage(input_tokens=15, cache_read_tokens=30, input_image_tokens=15, output_tokens=10,
                  output_image_tokens=100),
        ),
        ("/v1/images/generations", {"usage": {"input_tokens": 5, "output_tokens": 10}},
         Usage(input_tokens=5, output_image_tokens=10)),
        ("/v1/audio/speech", {"usage": {"input_tokens": 5, "output_tokens": 10}},
         Usage(input_tokens=5, output_audio_tokens=10)),
        (
            "/v1/audio/translations",
            {"usage": {"type": "tokens", "input_tokens": 14, "input_token_details": {"text_tokens": 4,
                                                                                     "audio_tokens": 10},
                       "output_tokens": 6}},
            Usage(input_tokens=4, input_audio_tokens=10, output_tokens=6),
        ),
        ("/v1/rerank", {"meta": {"billed_units": {"search_units": 1}}}, Usage()),
        ("/v1/audio/translations", {"usage": {"type": "duration", "seconds": 9}}, Usage(input_audio_seconds=9)),
        ("/v1/audio/translations", {"usage": {"type": "duration", "seconds": 9.2}, "duration": 8.1},
         Usage(input_audio_seconds=10)),
        ("/v1/audio/translations", {"text": "hi", "duration": 8.470000267028809}, Usage(input_audio_seconds=9)),
        ("/v1/audio/translations", {"usage": {"input_tokens": 83, "output_tokens": 30, "seconds": 9.2}},
         Usage(input_tokens=83, output_tokens=30)),
        ("/v1/audio/translations", {"duration": 0}, None),
        ("/v1/audio/translations", {"duration": -1, "usage": {"seconds": True}}, None),
        ("/v1/audio/translations", {"duration": 1e300, "usage": {"seconds": "9"}}, None),
        ("/v1/moderations", {"results": []}, None),
        (EMBEDDINGS, {"usage": {"prompt_tokens": -1}}, None),
        (EMBEDDINGS, {"usage": "much", "meta": []}, None),
    ],
)  # fmt: skip
async def test_usage(path: str, said: Any, usage: Usage | None) -> None:
    async with Vendor(path=path, answer=answering(said)) as vendor, running_plane(catalog_of(vendor)) as plane:
        assert (await plane.post({"model": "demo-gpt", "input": "hi"}, path=path)).status == 200
        assert plane.served[0].usage == usage
        assert used(plane.served[0])[1] is (UsageSource.ESTIMATED if usage is None else UsageSource.PROVIDER)


async def test_usage_at_the_end_of_a_large_answer() -> None:
    document = {"data": [{"embedding": [0.5] * 600_000}], "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    async with (
        Vendor(path=EMBEDDINGS, answer=answering(document)) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        answer = await plane.post({"model": "demo-gpt"}, path=EMBEDDINGS)
        assert answer.json == document
        assert len(answer.body) > 2_500_000
        assert plane.served[0].usage == Usage(input_tokens=9)


# --- who takes it ---


@OF_JSON
async def test_only_hosts_of_openais_family_are_asked(operation: Any) -> None:
    async with (
        Vendor(MESSAGES) as other,
        Vendor(path=operation.path, answer=answering({})) as vendor,
        running_plane(catalog_of(other, vendor)) as plane,
    ):
        answer = await plane.post({"model": "demo-gpt"}, path=operation.path)
        assert (answer.status, answer.headers["x-relay-host"]) == (200, "vendor-2")
        plane.swap(catalog_of(other))
        refused = await plane.post({"model": "demo-gpt"}, path=operation.path)
        assert (refused.status, refused.json["error"]["code"]) == (400, "bad_field")
        assert refused.json["error"]["param"] == "model"
        assert "No host of this model does what this address asks for" in refused.json["error"]["message"]
        assert other.calls == []


async def test_failover_and_a_fallback_of_the_same_kind() -> None:
    async def failing(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b"{}", 503)

    fallback = nouns.Fallback(("demo-gpt",), (FallbackCondition.ANY_FAILURE,), ("claude", "second"))
    async with (
        Vendor(path=EMBEDDINGS, answer=failing) as broken,
        Vendor(MESSAGES) as other,
        Vendor(path=EMBEDDINGS, answer=answering({"usage": {"prompt_tokens": 2}})) as vendor,
    ):
        rows = [row for row in catalog_of(broken) if row is not POLICY]
        rows += [replace(POLICY, fallbacks=(fallback,)), host_key(2, 2), host_key(3, 3)]
        for number, name, each in ((2, "claude", other), (3, "second", vendor)):
            rows += [
                numbered(MODEL, number, name=name),
                numbered(HOST, number, slug=f"vendor-{number}", base_url=each.url),
                numbered(BINDING, number, model_id=nouns.ModelId(number), host_id=nouns.HostId(number),
                         wire_shape=each.shape),
            ]  # fmt: skip
        async with running_plane(rows) as plane:
            answer = await plane.post({"model": "demo-gpt", "input": "hi"}, path=EMBEDDINGS)
            assert (answer.status, answer.headers["x-relay-model"]) == (200, "second")
            assert other.calls == []


# --- bad input ---


@OF_JSON
async def test_bad_input(operation: Any) -> None:
    async with (
        Vendor(path=operation.path, answer=answering({})) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        for body, status, code, words in (
            ({"model": "nothing"}, 404, "model_not_found", "No such model"),
            ({"model": 5}, 400, "bad_request", "model"),
            ({"input": "a"}, 400, "bad_field", "model: is missing"),
            ([], 400, "bad_request", "array"),
            (b"", 400, "malformed_json", "JSON"),
            (b"\xff", 400, "malformed_json", "JSON"),
            (b'{"model":"demo-gpt","x":"' + b"a" * MAX_BODY_BYTES + b'"}', 413, "body_too_large", "at most"),
        ):
            refused = await plane.post(body, path=operation.path)
            assert (refused.status, refused.json["error"]["code"]) == (status, code)
            assert words in refused.json["error"]["message"]
        for method in ("GET", "PUT", "DELETE"):
            caller = await plane.caller()
            await caller.send(f"{method} {operation.path} HTTP/1.1\r\nHost: relay\r\n{AUTHORIZED}\r\n\r\n".encode())
            answer = await caller.answer()
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
        plane.swap([replace(POLICY, models=("-*",)) if row is POLICY else row for row in catalog_of(vendor)])
        forbidden = await plane.post({"model": "demo-gpt"}, path=operation.path)
        assert (forbidden.status, forbidden.json["error"]["code"]) == (403, "model_forbidden")
        assert vendor.calls == []


async def test_a_body_of_twenty_megabytes_is_refused_before_it_is_read() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        for operation in (*OTHERS, COUNT_TOKENS):
            caller = await plane.caller()
            head = f"POST {operation.path} HTTP/1.1\r\nHost: relay\r\n{AUTHORIZED}\r\nContent-Length: 20000000\r\n\r\n"
            await caller.send(head.encode())
            answer = await caller.answer()
            assert (answer.status, answer.closes) == (413, True)
        assert vendor.calls == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form(("prompt", b"hi")), "model: is missing"),
        (form(("model", b"demo-gpt"), ("model", b"demo-gpt")), "model: has to be there once"),
        (form(("model", b"demo-gpt"), ("Model", b"other")), "model: has to be there once"),
        (form(('"model"; filename="m"', b"demo-gpt")), "model: has to be a plain text field"),
        (form(("model", b"\xff")), "model: is no text"),
        (form(("model", b"a" * 300)), "model: has more than 256 bytes"),
        (form(('"mod\\el"', b"demo-gpt")), "Content-Disposition"),
        (form(("model", b"demo-gpt"), ("x; name=model", b"other")), "Content-Disposition"),
        (form(("model", b"demo-gpt"), ("x", b"\n--%b\nContent-Disposition: form-data; name=model\n\nother" %
                                       BOUNDARY.encode())), "boundary"),
        (form(("model", b"demo-gpt"))[:-4], "its boundary"),
        (form(("model", b"demo-gpt")) + b"more", "does not end with its boundary"),
        (b"hello\r\n" + form(("model", b"demo-gpt")), "does not begin with its boundary"),
        (form(*[("model", b"demo-gpt")] * 200), "more than 128 parts"),
        (b"", "no part"),
        (b"--x-Boundary_7\r\n--x-Boundary_7--", "stands inside a line"),
        (b"--x-Boundary_7\r\nno head\r\n--x-Boundary_7--", "no head"),
        (b"--x-Boundary_7\r\nContent-Disposition: form-data; name=model\r\n x: y\r\n\r\na\r\n--x-Boundary_7--",
         "no header"),
    ],
)  # fmt: skip
async def test_a_form_that_two_readers_could_understand_differently(body: bytes, words: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        refused = await plane.post(body, FORM, path=TRANSCRIPTIONS)
        assert (refused.status, refused.json["error"]["type"]) == (400, "invalid_request_error")
        assert words in refused.json["error"]["message"]
        assert vendor.calls == []


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=x-Boundary_7",
        "multipart/form-data; charset=utf-7; boundary=x-Boundary_7",
        "multipart/form-data; boundary=" + "a" * 71,
    ],
)
async def test_a_form_without_a_plain_boundary(content_type: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        refused = await plane.post(form(("model", b"demo-gpt")), f"Content-Type: {content_type}", path=TRANSCRIPTIONS)
        assert refused.status == 400
        assert "boundary" in refused.json["error"]["message"]
        assert vendor.calls == []


async def test_a_hosts_refusal_passes_in_its_own_words() -> None:
    async def refusing(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"error":{"message":"too long, sk-vendor-1","code":"x"}}', 400)

    async with Vendor(path=EMBEDDINGS, answer=refusing) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post({"model": "demo-gpt"}, path=EMBEDDINGS)
        assert (answer.status, answer.json["error"]["message"]) == (400, "too long, ***********")
