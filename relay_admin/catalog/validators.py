"""What a catalog row may hold, beyond what a column type says. Each says what to write instead."""

import ipaddress
import json
import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from relay_contract import netguard, nouns
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.pricing import PriceMeter
from relay_contract.redaction import check_rules

MAX_RULES = 8
MAX_WINDOW_SECONDS = 86_400
MAX_STATIC_HEADERS = 20
MAX_COST_MICROUSD = 9 * 10**12  # nano-USD stay below 2^53, which is what Lua counts exactly
MAX_FALLBACKS = 32
MAX_FALLBACK_MODELS = 4
MAX_RATES = 40
MAX_RATE_NANOUSD = 10**15
MAX_CERTIFICATE_CHARACTERS = 65_536
_PATTERN = re.compile(r"-?(?:\*|[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,126}\*?)(?:@[a-z0-9][a-z0-9._-]{0,62})?")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,254}\*?")
_REFERENCE = re.compile(r"(?:env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/[^\x00-\x20]{1,400}|vault:[^\x00-\x20]{1,400})")

_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/(?:\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126})")
_HEADER_NAME = r"header:[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}"
_FIRST_STEP = r"(?:[A-Za-z0-9_$-]{1,128}|\[\"[^\"\x00-\x1f]{1,128}\"\])"
_STEPS = rf"{_FIRST_STEP}(?:\.[A-Za-z0-9_$-]{{1,128}}|\[\"[^\"\x00-\x1f]{{1,128}}\"\]|\[[0-9]{{1,6}}\]){{0,15}}"
_STAR_STEPS = _STEPS.replace("[0-9]{1,6}", r"(?:[0-9]{1,6}|\*)")
_SOURCE = re.compile(rf"(?:{_HEADER_NAME}|body:{_STEPS})")
_REDACTION = re.compile(rf"(?:{_HEADER_NAME}|{_STAR_STEPS})")
_JSON_PATH = re.compile(_STAR_STEPS)
_RETRY_ON = re.compile(r"[345](?:[0-9]{2}|xx)|network|timeout")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s-]+-----END CERTIFICATE-----\s*")


def rules(value: Any) -> None:
    """`RateLimit.rules` in its stored form."""
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise ValidationError(f"Write a list of at most {MAX_RULES} rules.")
    for rule in value:
        _rule(rule)


def _rule(rule: Any) -> None:
    needed = {"meter", "amount", "window_seconds"}
    if not isinstance(rule, dict) or not needed <= set(rule) <= needed | {"algorithm", "burst"}:
        raise ValidationError('A rule is {"meter": ..., "amount": ..., "window_seconds": ...}.')
    if rule["meter"] not in list(nouns.Meter):
        raise ValidationError(f"A meter is one of {', '.join(nouns.Meter)}.")
    most_amount = MAX_COST_MICROUSD if rule["meter"] == nouns.Meter.COST else 2**53 - 1
    for name, most in (("amount", most_amount), ("window_seconds", MAX_WINDOW_SECONDS)):
        _whole(rule[name], name, 1, most)
    if "algorithm" not in rule and "burst" not in rule:
        return
    if rule.get("algorithm") not in list(nouns.Algorithm):
        raise ValidationError(f"An algorithm is one of {', '.join(nouns.Algorithm)}.")
    is_gcra = rule["algorithm"] == nouns.Algorithm.GCRA
    if is_gcra and rule["meter"] != nouns.Meter.REQUESTS:
        raise ValidationError("gcra spreads requests; the other meters take sliding_window.")
    if "burst" in rule:
        if not is_gcra:
            raise ValidationError("burst belongs to gcra.")
        _whole(rule["burst"], "burst", 1, rule["amount"])


def _whole(number: Any, name: str, least: int, most: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ValidationError(f"{name} is a whole number from {least} to {most}.")


def fallbacks(value: Any) -> None:
    """`Policy.fallbacks` in its stored form."""
    if not isinstance(value, list) or len(value) > MAX_FALLBACKS:
        raise ValidationError(f"Write a list of at most {MAX_FALLBACKS} fallbacks.")
    for each in value:
        if not isinstance(each, dict) or set(each) != {"models", "when", "then"}:
            raise ValidationError('A fallback is {"models": [...], "when": [...], "then": [...]}.')
        if not all(isinstance(part, list) and part and all(isinstance(x, str) for x in part) for part in each.values()):
            raise ValidationError("models, when and then are lists of text with something in them.")
        model_patterns(each["models"])
        unknown = [word for word in each["when"] if word not in list(nouns.FallbackCondition)]
        if unknown:
            raise ValidationError(f"{unknown[0]!r}: a condition is one of {', '.join(nouns.FallbackCondition)}.")
        if len(each["then"]) > MAX_FALLBACK_MODELS:
            raise ValidationError(f"then takes at most {MAX_FALLBACK_MODELS} models.")
        for name in each["then"]:
            if not re.fullmatch(nouns.MODEL_NAME_PATTERN, name):
                raise ValidationError(f"{name!r} is not the name of a model.")


def capabilities(value: Any) -> None:
    """`Model.capabilities` in its stored form."""
    if not isinstance(value, dict):
        raise ValidationError("Write an object.")
    for name, given in value.items():
        if name not in nouns.CAPABILITIES:
            raise ValidationError(f"{name!r}: a capability is one of {', '.join(nouns.CAPABILITIES)}.")
        if given is not None:
            _capability(name, given)


def _capability(name: str, given: Any) -> None:
    words = nouns.CAPABILITY_WORDS.get(name)
    if name.endswith("_tokens"):
        _whole(given, name, 1, 10**9)
    elif words is None:
        if not isinstance(given, bool):
            raise ValidationError(f"{name} is true or false.")
    elif name == "sampling_limits":
        if given not in words:
            raise ValidationError(f"{name} is one of {', '.join(words)}.")
    elif not isinstance(given, list) or not all(word in words for word in given):
        raise ValidationError(f"{name} is a list of {', '.join(words)}.")


def rates(value: Any) -> None:
    """`Pricing.rates` in its stored form."""
    if not isinstance(value, list) or len(value) > MAX_RATES:
        raise ValidationError(f"Write a list of at most {MAX_RATES} rates.")
    seen = set()
    for rate in value:
        needed = {"meter", "nanousd_per_million"}
        if not isinstance(rate, dict) or not needed <= set(rate) <= needed | {"above_tokens"}:
            raise ValidationError('A rate is {"meter": ..., "nanousd_per_million": ..., "above_tokens": ...}.')
        if rate["meter"] not in list(PriceMeter):
            raise ValidationError(f"A meter is one of {', '.join(PriceMeter)}.")
        _whole(rate["nanousd_per_million"], "nanousd_per_million", 0, MAX_RATE_NANOUSD)
        _whole(rate.get("above_tokens", 0), "above_tokens", 0, 10**9)
        tier = (rate["meter"], rate.get("above_tokens", 0))
        if tier in seen:
            raise ValidationError(f"{tier[0]} above {tier[1]} tokens is here twice.")
        seen.add(tier)


def passthrough_paths(value: list[str]) -> None:
    """`Host.passthrough_paths`."""
    for path in value:
        if not _PATH.fullmatch(path) or "//" in path or "/." in path:
            raise ValidationError(f"{path!r}: write a plain path such as /files or /batches/*.")


def secret_reference(value: str) -> None:
    """`HostKey.reference`."""
    if not _REFERENCE.fullmatch(value):
        raise ValidationError("Write env:NAME, file:/path or vault:URL#field.")


def model_patterns(value: list[str]) -> None:
    """`Policy.models`."""
    for pattern in value:
        if not _PATTERN.fullmatch(pattern):
            raise ValidationError(f"{pattern!r}: write a model name, with `*` at its end or `-` before it if need be.")


def target_url(value: str) -> None:
    """A URL that deliveries may go to. The address is checked again at each connection: names can change."""
    _check_url(value)


def host_url(value: str) -> None:
    """A host's base URL."""
    _check_url(value)
    if value.endswith("/") or "?" in value:
        raise ValidationError("Leave out the slash at the end and any query.")


def _check_url(value: str) -> None:
    try:
        netguard.check_url(value, allowed=settings.EGRESS_ALLOW)
    except netguard.UrlRefused as refused:
        raise ValidationError(str(refused)) from refused


def static_headers(value: Any) -> None:
    """`Target.headers`: an object of text values."""
    if not isinstance(value, dict) or len(value) > MAX_STATIC_HEADERS:
        raise ValidationError(f"Write an object of at most {MAX_STATIC_HEADERS} headers.")
    if len({name.lower() for name in value}) < len(value):
        raise ValidationError("Two headers have the same name; HTTP compares names without case.")
    for name, text in value.items():
        if not isinstance(text, str):
            raise ValidationError(f"{name}: a header's value is text.")
        try:
            netguard.check_header(name, text)
        except ValueError as refused:
            raise ValidationError(str(refused)) from refused


def methods(value: list[str]) -> None:
    """`Endpoint.methods`."""
    if not value:
        raise ValidationError("Name one method at least.")
    _once(value)
    for method in value:
        if method not in nouns.ENDPOINT_METHODS:
            raise ValidationError(f"{method!r}: a method is one of {', '.join(nouns.ENDPOINT_METHODS)}.")


def content_types(value: list[str]) -> None:
    """`Endpoint.content_types`."""
    _at_most(value, nouns.MAX_CONTENT_TYPES, "content types")
    _once(value)
    for content_type in value:
        if not _CONTENT_TYPE.fullmatch(content_type):
            raise ValidationError(f"{content_type!r}: write a lower-case type such as application/json or text/*.")


_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
"""How some machines write IPv4. The edges write it as IPv4, so no caller would ever be in such a network."""


def allowed_networks(value: list[str]) -> None:
    """Of an endpoint or a relay key."""
    _at_most(value, nouns.MAX_ALLOWED_NETWORKS, "networks")
    _once(value)
    for network in value:
        try:
            parsed = ipaddress.ip_network(network)
        except ValueError as error:
            raise ValidationError(f"{error}. Write a network such as 192.0.2.0/24 or 2001:db8::/32.") from None
        if isinstance(parsed, ipaddress.IPv6Network) and parsed.subnet_of(_MAPPED):
            v4 = ipaddress.IPv4Address(int(parsed.network_address) & 0xFFFF_FFFF)
            raise ValidationError(f"{network!r} is IPv4: write {v4}/{parsed.prefixlen - 96}.")


def signature_config(value: Any) -> None:
    """`Endpoint.signature_config`, as far as it does not depend on the preset; see `rules`."""
    _read(nouns.signature_config_from_json, value)


def auth_config(value: Any) -> None:
    """`Target.auth_config`, as far as it does not depend on the kind."""
    config = _read(nouns.auth_config_from_json, value)
    for name in ("username", "client_id", "scope", "audience"):
        text = getattr(config, name)
        if len(text) > 1024 or re.search(r"[\x00-\x1f\x7f]", text):
            raise ValidationError(f"{name} is at most 1024 characters, none of them a control character.")
    if ":" in config.username:
        raise ValidationError("A username has no colon: HTTP puts one after it.")
    if config.token_url:
        _check_url(config.token_url)


def _read(reader: Callable[[Any], Any], value: Any) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        raise ValidationError(f"{str(error)[0].upper()}{str(error)[1:]}.") from None


def json_schema(value: Any) -> None:
    """`Endpoint.json_schema`: its size and form."""
    if not isinstance(value, dict | bool):
        raise ValidationError("A JSON Schema is an object.")
    json_document(value)


def json_object(value: Any) -> None:
    """Conditions or a mapping: its size and form."""
    if not isinstance(value, dict):
        raise ValidationError("Write an object.")
    json_document(value)


def json_document(value: Any) -> None:
    """JSON that is small and shallow enough for everything that walks it."""
    open_, depth = [value], 0
    while open_:
        depth += 1
        if depth > nouns.MAX_JSON_DEPTH + 1:
            raise ValidationError(f"It is nested deeper than {nouns.MAX_JSON_DEPTH}.")
        open_ = [part for one in open_ for part in _parts(one)]
    if len(json.dumps(value, separators=(",", ":")).encode()) > nouns.MAX_JSON_SCHEMA_BYTES:
        raise ValidationError(f"It is larger than {nouns.MAX_JSON_SCHEMA_BYTES} bytes.")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def idempotency_seconds(value: int) -> None:
    """`Endpoint.idempotency_seconds`."""
    least, most = nouns.MIN_IDEMPOTENCY_SECONDS, nouns.MAX_IDEMPOTENCY_SECONDS
    if value and not least <= value <= most:
        raise ValidationError(f"Write 0, or from {least} to {most}.")


def redactions(value: list[str]) -> None:
    """`Endpoint.redactions`."""
    _at_most(value, nouns.MAX_REDACTIONS, "redactions")
    for each in value:
        if not _REDACTION.fullmatch(each) or check_rules([each]):
            raise ValidationError(f"{each!r}: write a path such as card.number or lines[*].name, or header:x-name.")


def json_paths(value: list[str]) -> None:
    """`Target.compare_ignore`."""
    _at_most(value, nouns.MAX_REDACTIONS, "paths")
    for each in value:
        if not _JSON_PATH.fullmatch(each):
            raise ValidationError(f"{each!r}: write a path such as meta.at or lines[*].id.")


def value_source(value: str) -> None:
    """`Endpoint.event_type_from`, `Target.ordering_key`."""
    if not _SOURCE.fullmatch(value):
        raise ValidationError("Write header:x-name, or body: and a path such as body:order.id.")


def retry_on(value: list[str]) -> None:
    """`Target.retry_on`."""
    _at_most(value, 64, "reasons")
    for each in value:
        if not _RETRY_ON.fullmatch(each):
            raise ValidationError(f"{each!r}: write a status such as 429, a class such as 5xx, network or timeout.")


def client_certificate(value: str) -> None:
    """`Target.client_certificate`."""
    if len(value) > MAX_CERTIFICATE_CHARACTERS or not _CERTIFICATE.fullmatch(value):
        raise ValidationError("Write a certificate in PEM, with its chain: -----BEGIN CERTIFICATE----- and so on.")


def _at_most(value: list[Any], most: int, what: str) -> None:
    if len(value) > most:
        raise ValidationError(f"At most {most} {what}.")


def _once(value: list[str]) -> None:
    twice = next((each for each in value if value.count(each) > 1), None)
    if twice is not None:
        raise ValidationError(f"{twice!r} is here twice.")


def budget(document: Any, field: str = "budget") -> None:
    """`{"microcredits": 5000000, "period": "month"}`, or None. `field`: whose fault it is."""
    if document is None:
        return
    text = 'Write {"microcredits": N, "period": "day"}, with day, week or month, and N of 0 to 10^15.'
    if not isinstance(document, dict) or set(document) != {"microcredits", "period"}:
        raise ValidationError({field: text})
    try:
        found = nouns.budget_from_json(document)
    except (TypeError, ValueError) as error:
        raise ValidationError({field: text}) from error
    if found.microcredits > MAX_AMOUNT:
        raise ValidationError({field: text})
