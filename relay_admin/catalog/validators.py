"""What a catalog row may hold, beyond what a column type says. Each says what to write instead."""

import re
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from relay_contract import netguard, nouns
from relay_contract.pricing import PriceMeter

MAX_RULES = 8
MAX_WINDOW_SECONDS = 86_400
MAX_STATIC_HEADERS = 20
MAX_COST_MICROUSD = 9 * 10**12  # nano-USD stay below 2^53, which is what Lua counts exactly
MAX_FALLBACKS = 32
MAX_FALLBACK_MODELS = 4
MAX_RATES = 40
MAX_RATE_NANOUSD = 10**15
_PATTERN = re.compile(r"-?(?:\*|[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,126}\*?)(?:@[a-z0-9][a-z0-9._-]{0,62})?")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,254}\*?")
_REFERENCE = re.compile(r"(?:env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/[^\x00-\x20]{1,400}|vault:[^\x00-\x20]{1,400})")


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
