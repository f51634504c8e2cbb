"""Signatures of providers, against what the providers publish and against other people's implementations."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from relay_contract.inbound_signatures import (
    PRESETS,
    ConfigError,
    Verdict,
    check_secret,
    read_config,
    slack_challenge,
    verify,
)
from relay_contract.nouns import SignatureConfig, SignaturePreset
from relay_contract.signing import Scheme, new_secret, signature_headers
from relay_contract.signing_keys import Ed25519Key, parse_secret

PLAIN = SignatureConfig()
NOW = 1_700_000_000.0


def judged(
    preset: str,
    headers: dict[str, str],
    body: bytes,
    *secrets: str,
    config: SignatureConfig = PLAIN,
    url: str = "/",
    now: float = NOW,
) -> Verdict:
    return verify(preset, config, secrets, headers, body, url=url, now=now)


# --- what providers publish -------------------------------------------------------------------------------------------


def test_githubs_example() -> None:
    """docs.github.com, "Validating webhook deliveries", section "Testing the webhook payload validation" (2026-11)."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": signature}
    assert judged("github", headers, b"Hello, World!", "It's a Secret to Everybody") is Verdict.OK
    assert judged("github", headers, b"Hello, World?", "It's a Secret to Everybody") is Verdict.INVALID
    assert judged("github", headers, b"Hello, World!", "It's a secret to everybody") is Verdict.INVALID


SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
SLACK_HEADERS = {
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    "x-slack-request-timestamp": "1531420618",
}
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (1531420618, Verdict.OK),
        (1531420918, Verdict.OK),
        (1531420918.5, Verdict.EXPIRED),
        (1531420318, Verdict.OK),
        (1531420317, Verdict.EXPIRED),
    ],
)
def test_slacks_example(now: float, verdict: Verdict) -> None:
    """docs.slack.dev, "Verifying requests from Slack" (2026-11)."""
    assert judged("slack", SLACK_HEADERS, SLACK_BODY, SLACK_SECRET, now=now) is verdict


TWILIO_URL = "/myapp.php?foo=1&bar=2"
TWILIO_FORM = (
    b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"  # any order
)
FORM = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}


@pytest.mark.parametrize(
    ("public_url", "signature"),
    [
        ("https://mycompany.com/myapp.php", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com:1234/myapp.php", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),  # signed without its port
        ("https://mycompany.com/myapp.php", "kvajT1Ptam85bY51eRf/AJRuM3w="),  # signed with port 443
        ("http://mycompany.com/myapp.php", "0ZXoZLH/DfblKGATFgpif+LLRf4="),  # with port 80
        ("http://mycompany.com:1234/myapp.php", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),  # with port 1234
    ],
)
def test_twilios_examples(public_url: str, signature: str) -> None:
    """twilio-python, tests/unit/test_request_validator.py (2026-11); the first is in twilio.com/docs/usage/security."""
    config = SignatureConfig(public_url=public_url)
    headers = {**FORM, "x-twilio-signature": signature}
    assert judged("twilio", headers, TWILIO_FORM, "12345", config=config, url=TWILIO_URL) is Verdict.OK
    assert judged("twilio", headers, TWILIO_FORM, "12346", config=config, url=TWILIO_URL) is Verdict.INVALID
    assert judged("twilio", headers, TWILIO_FORM + b"&a=", "12345", config=config, url=TWILIO_URL) is Verdict.INVALID
    assert judged("twilio", headers, TWILIO_FORM, "12345", config=config, url="/myapp.php?foo=1") is Verdict.INVALID


TWILIO = SignatureConfig(public_url="https://mycompany.com/myapp.php")


def test_twilio_signs_a_name_that_comes_twice() -> None:
    """The same file: sorted values, and none of the pairs is lost."""
    headers = {**FORM, "x-twilio-signature": "IK+Dwps556ElfBT0I3Rgjkr1wJU="}
    body = b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234"
    assert judged("twilio", headers, body, "12345", config=TWILIO, url=TWILIO_URL) is Verdict.OK


def test_twilio_signs_other_bodies_by_their_hash() -> None:
    """The same file."""
    body = b'{"property": "value", "boolean": true}'
    url = TWILIO_URL + "&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    headers = {"content-type": "application/json", "x-twilio-signature": "a9nBmqA0ju/hNViExpshrM61xv4="}
    assert judged("twilio", headers, body, "12345", config=TWILIO, url=url) is Verdict.OK
    assert judged("twilio", headers, body + b" ", "12345", config=TWILIO, url=url) is Verdict.INVALID
    twice = url + "&bodySHA256=" + hashlib.sha256(b"other").hexdigest()
    assert judged("twilio", headers, b"other", "12345", config=TWILIO, url=twice) is Verdict.INVALID


def twilio_signature(url: str, appended: str = "") -> str:
    return base64.b64encode(hmac.digest(b"12345", (url + appended).encode(), "sha1")).decode()


@pytest.mark.parametrize("content_type", ["application/json", "", "text/plain", "multipart/form-data"])
def test_twilio_never_lets_a_body_in_that_its_signature_leaves_out(content_type: str) -> None:
    url = "https://mycompany.com/myapp.php"
    headers = {"content-type": content_type, "x-twilio-signature": twilio_signature(url)}
    assert judged("twilio", headers, b"", "12345", config=TWILIO) is Verdict.OK
    assert judged("twilio", headers, b'{"anything": 1}', "12345", config=TWILIO) is Verdict.INVALID


@pytest.mark.parametrize("body", [b"a=%ff", b"a=\xff", b"&".join(b"a%d=1" % n for n in range(1001)), b"%ED%A0%80=1"])
def test_twilio_forms_that_cannot_be_read_one_way(body: bytes) -> None:
    headers = {**FORM, "x-twilio-signature": twilio_signature("https://mycompany.com/myapp.php", "a\ufffd")}
    assert judged("twilio", headers, body, "12345", config=TWILIO) is Verdict.INVALID


def test_shopify_against_another_implementation() -> None:
    """Value of SQLPage's own test of `hmac(..., 'sha256-base64')`, "Test Shopify webhook HMAC validation" (2026-11);
    Shopify's page "Verify the webhook" gives the rule and no example."""
    body = b'{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}'
    headers = {"x-shopify-hmac-sha256": "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw="}
    assert judged("shopify", headers, body, "test-webhook-secret") is Verdict.OK
    assert judged("shopify", headers, body + b"\n", "test-webhook-secret") is Verdict.INVALID


def stripe_header(secret: str, timestamp: int, body: bytes) -> str:
    """docs.stripe.com/webhooks, "Verify webhook signatures manually", by the book (2026-11)."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def test_stripe() -> None:
    """The key is the whole text with its `whsec_`. Several `v1` stand there during a roll; `v0` counts for nothing."""
    body, secret = b'{"id": "evt_1"}', "whsec_dGVzdA=="
    header = stripe_header(secret, 1_700_000_000, body)
    right = header.partition("v1=")[2]
    wrong = "6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
    for text, verdict in (
        (header, Verdict.OK),
        (f"t=1700000000,v1={wrong},v1={right},v0={wrong}", Verdict.OK),
        (f"t=1700000000, v1={right}", Verdict.OK),
        (f"t=1700000000,v0={right}", Verdict.INVALID),
        (f"t=1700000000,v1={wrong}", Verdict.INVALID),
        (f"t=1700000001,v1={right}", Verdict.INVALID),
        (f"t=1700000000,t=1700000000,v1={right}", Verdict.INVALID),
        (f"v1={right}", Verdict.INVALID),
        (f"t=,v1={right}", Verdict.INVALID),
        (f"t=17e8,v1={right}", Verdict.INVALID),
        ("t,v1=,", Verdict.INVALID),
        (",,", Verdict.INVALID),
        ("", Verdict.MISSING),
        (f"{header},{'x' * 4096}", Verdict.MISSING),
    ):
        assert judged("stripe", {"stripe-signature": text}, body, secret) is verdict, text
    assert judged("stripe", {"stripe-signature": header}, body, secret, now=NOW + 301) is Verdict.EXPIRED
    assert judged("stripe", {"stripe-signature": header}, body, "dGVzdA==") is Verdict.INVALID


# --- Standard Webhooks ------------------------------------------------------------------------------------------------

STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_BODY = b'{"test": 2432232314}'
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
WHPK = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


@pytest.mark.parametrize("names", ["webhook-", "svix-"])
@pytest.mark.parametrize("secret", [STANDARD_SECRET, STANDARD_SECRET.removeprefix("whsec_")])
def test_the_standards_example(names: str, secret: str) -> None:
    """The reference libraries' own test (standard-webhooks/standard-webhooks, 2026-11)."""
    headers = {name.replace("webhook-", names): value for name, value in STANDARD.items()}
    assert judged("standard_webhooks", headers, STANDARD_BODY, secret, now=1614265330) is Verdict.OK
    assert judged("standard_webhooks", headers, STANDARD_BODY, secret, now=1614265631) is Verdict.EXPIRED
    assert judged("standard_webhooks", headers, STANDARD_BODY + b" ", secret, now=1614265330) is Verdict.INVALID


def test_the_asymmetric_example() -> None:
    """Svix's server, test_asymmetric_key_signing (2026-11): a public key checks, a shared secret does not."""
    headers = STANDARD | {"webhook-signature": f"v1,AAAA {V1A}"}
    assert judged("standard_webhooks", headers, STANDARD_BODY, WHPK, now=1614265330) is Verdict.OK
    assert judged("standard_webhooks", headers, STANDARD_BODY, STANDARD_SECRET, now=1614265330) is Verdict.INVALID
    assert judged("standard_webhooks", STANDARD, STANDARD_BODY, WHPK, now=1614265330) is Verdict.INVALID
    relabelled = STANDARD | {"webhook-signature": "v1," + V1A.removeprefix("v1a,")}
    assert judged("standard_webhooks", relabelled, STANDARD_BODY, WHPK, now=1614265330) is Verdict.INVALID


@given(st.binary(max_size=100))
def test_what_the_published_package_signs(body: bytes) -> None:
    text = body.decode("latin-1")
    signature = Webhook(STANDARD_SECRET).sign("msg_1", datetime.fromtimestamp(NOW, UTC), text)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(NOW)), "webhook-signature": signature}
    assert judged("standard_webhooks", headers, text.encode(), STANDARD_SECRET) is Verdict.OK


def test_one_relays_deliveries_are_anothers_calls() -> None:
    shared, private = new_secret(), new_secret(Scheme.ED25519)
    pair = parse_secret(private)
    assert isinstance(pair, Ed25519Key)
    headers = signature_headers([shared, private], "msg_1", int(NOW), b"body")
    assert judged("standard_webhooks", headers, b"body", shared) is Verdict.OK
    assert judged("standard_webhooks", headers, b"body", pair.public().text()) is Verdict.OK


def test_an_id_with_a_dot_could_trade_bytes_with_the_timestamp() -> None:
    headers = signature_headers([STANDARD_SECRET], "msg_1", int(NOW), b"body")
    moved = headers | {"webhook-id": f"msg_1.{int(NOW)}", "webhook-timestamp": "0"}
    assert judged("standard_webhooks", moved, b"body", STANDARD_SECRET) is Verdict.INVALID


# --- what holds for each ----------------------------------------------------------------------------------------------

GENERIC = SignatureConfig(
    header="X-Sign", prefix="s=", encoding="base64", algorithm="sha512", template="{timestamp}|{body}",
    timestamp_header="X-Time", tolerance_seconds=10,
)  # fmt: skip


def signed(  # noqa: PLR0911 (a case a provider)
    preset: str, secret: str, body: bytes, now: float = NOW
) -> tuple[dict[str, str], SignatureConfig]:
    """A call as the provider makes it, by none of our code but the standard's headers."""

    def digest(content: bytes, algorithm: str = "sha256") -> bytes:
        return hmac.new(secret.encode(), content, algorithm).digest()

    at = str(int(now))
    match preset:
        case "standard_webhooks":
            key = base64.b64encode(secret.encode()).decode()
            return signature_headers(["whsec_" + key], "msg_1", int(now), body), PLAIN
        case "stripe":
            return {"stripe-signature": stripe_header(secret, int(now), body)}, PLAIN
        case "github":
            return {"x-hub-signature-256": "sha256=" + digest(body).hex()}, PLAIN
        case "shopify":
            return {"x-shopify-hmac-sha256": base64.b64encode(digest(body)).decode()}, PLAIN
        case "slack":
            text = "v0=" + digest(b"v0:" + at.encode() + b":" + body).hex()
            return {"x-slack-signature": text, "x-slack-request-timestamp": at}, PLAIN
        case "twilio":
            form = digest(b"https://mycompany.com/myapp.php" + body.replace(b"=", b""), "sha1")
            return {**FORM, "x-twilio-signature": base64.b64encode(form).decode()}, TWILIO
        case _:
            text = "s=" + base64.b64encode(digest(at.encode() + b"|" + body, "sha512")).decode()
            return {"x-sign": text, "x-time": at}, GENERIC


def as_configured(preset: str, secret: str) -> str:
    return "whsec_" + base64.b64encode(secret.encode()).decode() if preset == "standard_webhooks" else secret


OLD, NEW, OTHER = "old" * 10, "new" * 10, "other" * 6
BODY = b"a=1"


@pytest.mark.parametrize("preset", PRESETS)
def test_each_secret_of_an_overlap_is_tried(preset: str) -> None:
    old, new, other = (as_configured(preset, secret) for secret in (OLD, NEW, OTHER))
    for secret in (OLD, NEW):
        headers, config = signed(preset, secret, BODY)
        assert judged(preset, headers, BODY, new, old, config=config) is Verdict.OK
        assert judged(preset, headers, BODY, old, new, config=config) is Verdict.OK
        assert judged(preset, headers, BODY, other, config=config) is Verdict.INVALID
        assert judged(preset, headers, b"a=2", new, old, config=config) is Verdict.INVALID


@pytest.mark.parametrize("preset", PRESETS)
def test_without_a_secret_nobody_is_let_in(preset: str) -> None:
    """An empty key makes digests like any other, so it must never be used."""
    headers, config = signed(preset, "" if preset != "standard_webhooks" else OLD, BODY)
    assert judged(preset, headers, BODY, config=config) is Verdict.UNKNOWN
    assert judged(preset, headers, BODY, "", config=config) is Verdict.UNKNOWN


@pytest.mark.parametrize("preset", PRESETS)
def test_without_any_one_of_its_headers_a_call_is_unsigned(preset: str) -> None:
    headers, config = signed(preset, OLD, BODY)
    for name in headers.keys() - {"content-type"}:
        rest = {key: value for key, value in headers.items() if key != name}
        assert judged(preset, rest, BODY, as_configured(preset, OLD), config=config) is Verdict.MISSING
        assert judged(preset, headers | {name: ""}, BODY, as_configured(preset, OLD), config=config) is Verdict.MISSING


@pytest.mark.parametrize("preset", ["", "GitHub", "none", "hmac ", "basic"])
def test_an_unknown_preset_lets_nobody_in(preset: str) -> None:
    headers = {"x-hub-signature-256": "sha256=" + hmac.new(OLD.encode(), BODY, "sha256").hexdigest()}
    assert judged(preset, headers, BODY, OLD) is Verdict.UNKNOWN


def test_githubs_old_header_is_no_signature() -> None:
    headers = {"x-hub-signature": "sha1=" + hmac.new(OLD.encode(), BODY, "sha1").hexdigest()}
    assert judged("github", headers, BODY, OLD) is Verdict.MISSING
    assert judged("github", headers | {"x-hub-signature-256": headers["x-hub-signature"]}, BODY, OLD) is Verdict.INVALID


def test_a_secret_that_cannot_be_used_does_not_hide_one_that_can() -> None:
    assert judged("standard_webhooks", STANDARD, STANDARD_BODY, "not base64!", now=1614265330) is Verdict.UNKNOWN
    both = ("not base64!", STANDARD_SECRET)
    assert judged("standard_webhooks", STANDARD, STANDARD_BODY, *both, now=1614265330) is Verdict.OK


@pytest.mark.parametrize("preset", PRESETS)
@given(
    headers=st.dictionaries(
        st.sampled_from([*STANDARD, "stripe-signature", "x-hub-signature-256", "x-shopify-hmac-sha256", "content-type",
                         "x-slack-signature", "x-slack-request-timestamp", "x-twilio-signature", "x-sign", "x-time"]),
        st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)),
    ),
    body=st.binary(max_size=50),
    url=st.text(st.characters(codec="utf-8"), max_size=50),
)  # fmt: skip
def test_whatever_a_stranger_sends_is_refused_without_an_error(
    preset: str, headers: dict[str, str], body: bytes, url: str
) -> None:
    config = {"twilio": TWILIO, "hmac": GENERIC}.get(preset, PLAIN)
    verdict = judged(preset, headers, body, as_configured(preset, OLD), config=config, url=url)
    assert verdict in (Verdict.MISSING, Verdict.INVALID)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_a_generic_signature_over_the_body(algorithm: str, encoding: str) -> None:
    config = read_config("hmac", {"header": "X-Signature", "algorithm": algorithm, "encoding": encoding})
    digest = hmac.new(b"secret", b"body", algorithm).digest()
    text = digest.hex().upper() if encoding == "hex" else base64.b64encode(digest).decode()
    assert judged("hmac", {"x-signature": text}, b"body", "secret", config=config) is Verdict.OK
    assert judged("hmac", {"x-signature": text}, b"body ", "secret", config=config) is Verdict.INVALID


def test_a_generic_timestamp_is_signed_and_expires() -> None:
    headers, config = signed("hmac", OLD, BODY)
    assert judged("hmac", headers, BODY, OLD, config=config, now=NOW + 10) is Verdict.OK
    assert judged("hmac", headers, BODY, OLD, config=config, now=NOW + 11) is Verdict.EXPIRED
    assert judged("hmac", headers | {"x-time": "1700000011"}, BODY, OLD, config=config, now=NOW + 11) is Verdict.INVALID


@pytest.mark.parametrize(
    ("preset", "document", "message"),
    [
        ("nope", {}, "use one of standard_webhooks, stripe"),
        ("github", {"header": "x"}, "no setting of github, which knows no settings"),
        ("twilio", {}, "public_url is that URL"),
        ("twilio", {"public_url": "https://a.example/?b=1"}, "without a query"),
        ("twilio", {"public_url": "ftp://a.example/"}, "public_url is that URL"),
        ("twilio", {"public_url": "https://a.example:99999/"}, "public_url is that URL"),
        ("twilio", {"public_url": 3}, "public_url is text"),
        ("hmac", {}, "header is the name of a header"),
        ("hmac", {"header": "a b"}, "header is the name of a header"),
        ("hmac", {"header": "x", "algorithm": "md5"}, "one of sha256, sha1, sha512"),
        ("hmac", {"header": "x", "encoding": "base32"}, "one of hex, base64"),
        ("hmac", {"header": "x", "prefix": "é"}, "printable ASCII"),
        ("hmac", {"header": "x", "template": "constant"}, "holds {body} once"),
        ("hmac", {"header": "x", "template": "{body}{body}"}, "holds {body} once"),
        ("hmac", {"header": "x", "template": "{body}{url}"}, "no other placeholder"),
        ("hmac", {"header": "x", "template": "{timestamp}{body}"}, "protects only where it is signed"),
        ("hmac", {"header": "x", "timestamp_header": "t"}, "protects only where it is signed"),
        ("hmac", {"header": "x", "timestamp_header": "t", "template": "{timestamp}{body}", "tolerance_seconds": 0},
         "1 to 86400 seconds"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_explained(preset: str, document: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(preset, document)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("preset", "config"),
    [("twilio", PLAIN), ("hmac", PLAIN), ("hmac", SignatureConfig(header="x", template="constant"))],
)
def test_settings_that_slipped_past_the_form_let_nobody_in(preset: str, config: SignatureConfig) -> None:
    headers, _ = signed("hmac", OLD, BODY)
    assert judged(preset, headers | {"x": "y"}, BODY, OLD, config=config) is Verdict.UNKNOWN


def test_every_preset_of_the_catalog_is_checked() -> None:
    assert set(PRESETS) == set(SignaturePreset)


def test_secrets_are_checked_when_they_are_set() -> None:
    for secret in (STANDARD_SECRET, "dGVzdA==", WHPK):
        check_secret("standard_webhooks", secret)
    check_secret("github", "anything")
    for preset, secret, message in (
        ("github", "", "not empty"),
        ("standard_webhooks", "canary!", "neither `whsec_` and base64"),
        ("standard_webhooks", "whsec_", "nothing follows"),
        ("standard_webhooks", "whpk_AAAA", "32 bytes"),
        ("standard_webhooks", "whsk_canary", "neither"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            check_secret(preset, secret)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "challenge"),
    [
        (b'{"token":"J","challenge":"3eZbrw1aBm2r","type":"url_verification"}', "3eZbrw1aBm2r"),
        (b'{"type":"url_verification"}', None),
        (b'{"type":"url_verification","challenge":7}', None),
        (b'{"type":"url_verification","challenge":"' + b"x" * 1025 + b'"}', None),
        (b'{"type":"event_callback","challenge":"3eZ"}', None),
        (b'"url_verification"', None),
        (b"\xff", None),
        (b"", None),
        (urlencode({"type": "url_verification", "challenge": "x"}).encode(), None),
        (b'{"a":' + b"[" * 100_000, None),
    ],
)
def test_slacks_handshake(body: bytes, challenge: str | None) -> None:
    """docs.slack.dev, "URL verification handshake" (2026-11)."""
    assert slack_challenge(body) == challenge
