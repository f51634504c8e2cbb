"""Whether a call to an endpoint is signed by the provider that the endpoint names.

    preset              header                         signed                                  digest
    standard_webhooks   webhook-signature (svix-...)   {id}.{timestamp}.{body}                 v1 SHA256, v1a ed25519
    stripe              stripe-signature: t=,v1=       {timestamp}.{body}                      hex HMAC-SHA256
    github              x-hub-signature-256: sha256=   {body}                                  hex HMAC-SHA256
    shopify             x-shopify-hmac-sha256          {body}                                  base64 HMAC-SHA256
    slack               x-slack-signature: v0=         v0:{timestamp}:{body}                   hex HMAC-SHA256
    twilio              x-twilio-signature             URL and form, or URL with bodySHA256=   base64 HMAC-SHA1
    hmac                as configured                  as configured                           as configured

Sources, read 2026-11: Standard Webhooks 1.0.0; docs.stripe.com/webhooks "Verify manually"; docs.github.com "Validating
webhook deliveries"; shopify.dev "Verify the webhook"; docs.slack.dev "Verifying requests from Slack"; twilio.com
/docs/usage/security and twilio-python's request_validator.py.

It fails closed: whatever it does not know, from the preset's name to a secret of another form, is `unknown`, which is
no permission. Digests are compared in constant time and each secret is tried, so that one may be rolled. The body must
be the bytes that were sent, before any decoding.

Pure, never logs, and no error of it holds a secret. 4 to 13 us with 1 KiB of body, and 0.5 us for each KiB more; a
`v1a` signature costs 80 us, and at most MAX_SIGNATURES of them are looked at.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from relay_contract.nouns import MAX_TOLERANCE_SECONDS, SIGNATURE_WORDS, SignatureConfig, signature_config_from_json
from relay_contract.signing_keys import PUBLIC_PREFIX, SECRET_PREFIX, SigningSecretError, parse_public_key

TOLERANCE_SECONDS = 300
"""How far a signed timestamp may be from our clock, before or after; what each of these providers recommends."""
MAX_HEADER_LENGTH = 4096
MAX_SIGNATURES = 8
"""Of one call. A provider in the middle of a roll sends two."""
MAX_FORM_FIELDS = 1000
MAX_CHALLENGE_LENGTH = 1024


class Verdict(StrEnum):
    """What became of the check. Only `ok` lets a call in."""

    OK = "ok"
    MISSING = "missing"  # the caller sent no signature, or not all that it is made of
    INVALID = "invalid"  # none of the secrets makes this signature
    EXPIRED = "expired"  # the signature is right and its time is not within the tolerance
    UNKNOWN = "unknown"  # the endpoint's own settings cannot be used: ours to correct, and nobody is let in meanwhile


class ConfigError(ValueError):
    """Settings of a check that cannot be used. The text is one sentence for the person who typed them."""


Headers = Mapping[str, str]
"""Names in lower case, or a mapping that compares them without case."""


@dataclass(frozen=True, slots=True)
class _Call:
    config: SignatureConfig
    secrets: Sequence[str]
    headers: Headers
    body: bytes
    url: str
    now: float


_Check = Callable[[_Call], Verdict]

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_ENCODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {"hex": binascii.hexlify, "base64": base64.b64encode}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_BODY_HASH = "bodySHA256"


def verify(
    preset: str,
    config: SignatureConfig,
    secrets: Sequence[str],
    headers: Headers,
    body: bytes,
    *,
    url: str,
    now: float,
) -> Verdict:
    """Judge one call.

    `secrets`: as the provider shows them, the current and those of an overlap, in any order. `url`: as it was called,
    of which the raw query is used. `now`: Unix seconds. Never raises for what a caller sent.
    """
    check = _CHECKS.get(preset)
    usable = [secret for secret in secrets if secret]
    if check is None or not usable:
        return Verdict.UNKNOWN
    return check(_Call(config, usable, headers, body, url, now))


def read_config(preset: str, document: Mapping[str, object]) -> SignatureConfig:
    """The settings of an endpoint as JSON has them, checked for its preset. ConfigError says what to correct."""
    if preset not in _CHECKS:
        raise ConfigError(f"There is no signature preset of that name; use one of {', '.join(PRESETS)}.")
    wanted = {"twilio": {"public_url"}, "hmac": _NAMES - {"public_url"}}.get(preset, set())
    foreign = sorted(set(document) - wanted)
    if foreign:
        known = ", ".join(sorted(wanted)) or "no settings"
        raise ConfigError(f"{foreign[0][:64]!a} is no setting of {preset}, which knows {known}.")
    try:
        config = signature_config_from_json(document)
    except ValueError as error:
        raise ConfigError(f"The signature settings cannot be read: {error}.") from None
    check_config(preset, config)
    return config


def check_config(preset: str, config: SignatureConfig) -> None:
    """ConfigError unless these settings are enough for the preset."""
    if preset == "twilio":
        _check_public_url(config.public_url)
    elif preset == "hmac":
        _check_generic(config)


def check_secret(preset: str, secret: str) -> None:
    """ConfigError unless the preset could use this secret. The text never repeats it."""
    if not secret:
        raise ConfigError("A signature secret is not empty.")
    if preset == "standard_webhooks":
        try:
            _standard_key(secret)
        except ValueError as error:  # SigningSecretError is one
            raise ConfigError(f"The signature secret cannot be used: {error}.") from None


def slack_challenge(body: bytes) -> str | None:
    """What Slack wants back when an endpoint's URL is entered (`url_verification`), else None.

    Ask after `verify` said ok; the answer is a 200 with this text, and the call goes no further.
    """
    try:
        call = msgspec.json.decode(body, type=_SlackCall)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    is_handshake = call.type == "url_verification" and 0 < len(call.challenge) <= MAX_CHALLENGE_LENGTH
    return call.challenge if is_handshake else None


class _SlackCall(msgspec.Struct):
    type: str = ""
    challenge: str = ""


def _standard_webhooks(call: _Call) -> Verdict:
    family = "webhook" if "webhook-signature" in call.headers else "svix"
    message_id, timestamp, signatures = (
        _text(call.headers, f"{family}-{part}") for part in ("id", "timestamp", "signature")
    )
    keys = list(_standard_keys(call.secrets))
    if not keys:
        return Verdict.UNKNOWN
    if not (message_id and timestamp and signatures):
        return Verdict.MISSING
    if "." in message_id or not _TIMESTAMP.fullmatch(timestamp):  # a dot would let parts trade bytes
        return Verdict.INVALID
    content = b"%s.%s.%s" % (_bytes(message_id), _bytes(timestamp), call.body)
    sent = signatures.split(" ")[:MAX_SIGNATURES]
    return _judged(any(key(content, sent) for key in keys), timestamp, TOLERANCE_SECONDS, call.now)


def _stripe(call: _Call) -> Verdict:
    header = _text(call.headers, "stripe-signature")
    if not header:
        return Verdict.MISSING
    parts = [part.partition("=") for part in header.split(",")]
    timestamps = [value for name, _, value in parts if name.strip() == "t"]
    sent = [value for name, _, value in parts if name.strip() == "v1"][:MAX_SIGNATURES]
    if len(timestamps) != 1 or not sent or not _TIMESTAMP.fullmatch(timestamps[0]):
        return Verdict.INVALID
    digests = [_hex(secret, b"%s.%s" % (_bytes(timestamps[0]), call.body)) for secret in call.secrets]
    return _judged(_matches(digests, sent), timestamps[0], TOLERANCE_SECONDS, call.now)


def _github(call: _Call) -> Verdict:
    header = _text(call.headers, "x-hub-signature-256")
    if not header:
        return Verdict.MISSING
    return _verdict(_matches([b"sha256=" + _hex(secret, call.body) for secret in call.secrets], [header]))


def _shopify(call: _Call) -> Verdict:
    header = _text(call.headers, "x-shopify-hmac-sha256")
    if not header:
        return Verdict.MISSING
    digests = [base64.b64encode(hmac.digest(_bytes(secret), call.body, "sha256")) for secret in call.secrets]
    return _verdict(_matches(digests, [header]))


def _slack(call: _Call) -> Verdict:
    header, timestamp = _text(call.headers, "x-slack-signature"), _text(call.headers, "x-slack-request-timestamp")
    if not header or not timestamp:
        return Verdict.MISSING
    if not _TIMESTAMP.fullmatch(timestamp):
        return Verdict.INVALID
    content = b"v0:%s:%s" % (_bytes(timestamp), call.body)
    matches = _matches([b"v0=" + _hex(secret, content) for secret in call.secrets], [header])
    return _judged(matches, timestamp, TOLERANCE_SECONDS, call.now)


def _twilio(call: _Call) -> Verdict:
    try:
        _check_public_url(call.config.public_url)
    except ConfigError:
        return Verdict.UNKNOWN
    header = _text(call.headers, "x-twilio-signature")
    if not header:
        return Verdict.MISSING
    query = call.url.partition("#")[0].partition("?")[2]
    try:
        form = _twilio_form(call.headers, call.body, query)
    except ValueError:
        return Verdict.INVALID
    digests = [
        base64.b64encode(hmac.digest(_bytes(secret), _bytes(spelling + form), "sha1"))
        for secret in call.secrets
        for spelling in _twilio_urls(call.config.public_url, query)
    ]
    return _verdict(_matches(digests, [header]))


def _generic(call: _Call) -> Verdict:
    try:
        _check_generic(call.config)
    except ConfigError:
        return Verdict.UNKNOWN
    header = _text(call.headers, call.config.header.lower())
    timestamp = _text(call.headers, call.config.timestamp_header.lower()) if call.config.timestamp_header else ""
    if not header or (call.config.timestamp_header and not timestamp):
        return Verdict.MISSING
    if not header.startswith(call.config.prefix) or (timestamp and not _TIMESTAMP.fullmatch(timestamp)):
        return Verdict.INVALID
    sent = header[len(call.config.prefix) :]
    before, after = (half.replace("{timestamp}", timestamp) for half in call.config.template.split("{body}"))
    content = b"".join((_bytes(before), call.body, _bytes(after)))
    encode = _ENCODINGS[call.config.encoding]
    digests = [encode(hmac.digest(_bytes(secret), content, call.config.algorithm)) for secret in call.secrets]
    matches = _matches(digests, [sent.lower() if call.config.encoding == "hex" else sent])
    return _judged(matches, timestamp, call.config.tolerance_seconds, call.now) if timestamp else _verdict(matches)


_CHECKS: Final[Mapping[str, _Check]] = {
    "standard_webhooks": _standard_webhooks,
    "stripe": _stripe,
    "github": _github,
    "shopify": _shopify,
    "slack": _slack,
    "twilio": _twilio,
    "hmac": _generic,
}
PRESETS = tuple(_CHECKS)
_NAMES = {field.name for field in fields(SignatureConfig)}


def _text(headers: Headers, name: str) -> str:
    """The header, or "" where it is absent or longer than any of these is."""
    value = headers.get(name, "")
    return value if len(value) <= MAX_HEADER_LENGTH else ""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # how both HTTP parsers here read bytes outside UTF-8


def _hex(secret: str, content: bytes) -> bytes:
    return binascii.hexlify(hmac.digest(_bytes(secret), content, "sha256"))


def _matches(digests: Sequence[bytes], sent: Sequence[str]) -> bool:
    """Whether any is equal. The time it takes says nothing of how nearly."""
    return any(hmac.compare_digest(digest, _bytes(one)) for digest in digests for one in sent)


def _verdict(matches: bool) -> Verdict:
    return Verdict.OK if matches else Verdict.INVALID


def _judged(matches: bool, timestamp: str, tolerance_seconds: int, now: float) -> Verdict:
    """The time counts only under a right signature, so that `expired` always means a clock or a replay."""
    if not matches:
        return Verdict.INVALID
    return Verdict.OK if abs(now - int(timestamp)) <= tolerance_seconds else Verdict.EXPIRED


_StandardKey = Callable[[bytes, Sequence[str]], bool]


def _standard_keys(secrets: Sequence[str]) -> Iterator[_StandardKey]:
    """The secrets that can be used; one that cannot does not keep the others from being tried."""
    for secret in secrets:
        try:
            yield _standard_key(secret)
        except ValueError:
            continue


def _standard_key(secret: str) -> _StandardKey:
    """`whsec_` and base64, base64 alone as some senders show it, or a sender's `whpk_`."""
    if secret.startswith(PUBLIC_PREFIX):
        public = parse_public_key(secret)
        return lambda content, sent: any(public.verifies(one, content) for one in sent if one.startswith("v1a,"))
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise SigningSecretError("it is neither `whsec_` and base64 nor a public key `whpk_...`") from None
    if not key:
        raise SigningSecretError("nothing follows `whsec_`")

    def matches(content: bytes, sent: Sequence[str]) -> bool:
        return _matches([b"v1," + base64.b64encode(hmac.digest(key, content, "sha256"))], sent)

    return matches


def _twilio_form(headers: Headers, body: bytes, query: str) -> str:
    """What Twilio appends to the URL: sorted names, each with its sorted values. ValueError where the signature would
    leave the body out of account.

    A body that is no form is signed through `bodySHA256` in the query, which is in the URL and so under the signature.
    """
    hashes = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == _BODY_HASH]
    if hashes:
        if len(hashes) > 1 or not hmac.compare_digest(_bytes(hashes[0]), _bytes(hashlib.sha256(body).hexdigest())):
            raise ValueError("another body")
        return ""
    if not body:
        return ""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise ValueError("the body is not signed")
    pairs = set(  # Twilio's libraries sign a pair that is sent twice once
        parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    )
    return "".join(name + value for name, value in sorted(pairs))


def _twilio_urls(public_url: str, query: str) -> Iterator[str]:
    """The URL with and without its port: Twilio signs one or the other, and its libraries accept both."""
    parts = urlsplit(public_url)
    host = parts.netloc.removesuffix(f":{parts.port}") if parts.port else parts.netloc
    ports = dict.fromkeys((f":{parts.port or _DEFAULT_PORTS[parts.scheme]}", ""))
    for port in ports:
        yield f"{parts.scheme}://{host}{port}{parts.path}" + (f"?{query}" if query else "")


def _check_public_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_sound = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and not parts.query and not parts.fragment
        is_sound = is_sound and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ConfigError("Twilio signs the URL it calls: public_url is that URL, http(s)://host/path without a query.")


def _check_generic(config: SignatureConfig) -> None:
    _check_header_name("header", config.header)
    if config.algorithm not in SIGNATURE_WORDS["algorithm"]:
        raise ConfigError(f"The algorithm is one of {', '.join(SIGNATURE_WORDS['algorithm'])}.")
    if config.encoding not in _ENCODINGS:
        raise ConfigError(f"The encoding is one of {', '.join(_ENCODINGS)}.")
    if not 1 <= config.tolerance_seconds <= MAX_TOLERANCE_SECONDS:
        raise ConfigError(f"The tolerance is 1 to {MAX_TOLERANCE_SECONDS} seconds.")
    if len(config.prefix) > 64 or not config.prefix.isascii() or not config.prefix.isprintable():
        raise ConfigError("The prefix is at most 64 printable ASCII characters.")
    _check_template(config)


def _check_template(config: SignatureConfig) -> None:
    names = _PLACEHOLDER.findall(config.template)
    if len(config.template) > 256 or names.count("body") != 1 or not set(names) <= {"body", "timestamp"}:
        raise ConfigError("The template holds {body} once, {timestamp} if it is signed, and no other placeholder.")
    if ("timestamp" in names) != bool(config.timestamp_header):
        raise ConfigError(
            "A timestamp protects only where it is signed: name its header in timestamp_header and put {timestamp} into"
            " the template, or leave out both."
        )
    if config.timestamp_header:
        _check_header_name("timestamp_header", config.timestamp_header)


def _check_header_name(setting: str, name: str) -> None:
    if not _HEADER_NAME.fullmatch(name.lower()):
        raise ConfigError(f"{setting} is the name of a header.")
