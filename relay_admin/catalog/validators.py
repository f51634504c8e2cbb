"""What a catalog row may hold, beyond what a column type says. Each says what to write instead."""

import re
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from relay_contract import netguard, nouns

MAX_RULES = 8
MAX_WINDOW_SECONDS = 86_400
MAX_STATIC_HEADERS = 20
_PATTERN = re.compile(r"-?(?:\*|[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,126}\*?)")


def rules(value: Any) -> None:
    """`RateLimit.rules` in its stored form."""
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise ValidationError(f"Write a list of at most {MAX_RULES} rules.")
    for rule in value:
        _rule(rule)


def _rule(rule: Any) -> None:
    if not isinstance(rule, dict) or set(rule) != {"meter", "amount", "window_seconds"}:
        raise ValidationError('A rule is {"meter": ..., "amount": ..., "window_seconds": ...}.')
    if rule["meter"] not in list(nouns.Meter):
        raise ValidationError(f"A meter is one of {', '.join(nouns.Meter)}.")
    for name, most in (("amount", 2**53 - 1), ("window_seconds", MAX_WINDOW_SECONDS)):
        number = rule[name]
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
            raise ValidationError(f"{name} is a whole number from 1 to {most}.")


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
