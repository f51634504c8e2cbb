"""What a policy's patterns grant: sets of models on hosts. Pure.

| pattern | stands for |
|---|---|
| `gpt-5` | the model of that name, on every host |
| `gpt-*` | models whose names begin so; `*` alone: every model |
| `openai/*` | models with `owned_by` "openai", and models whose own names begin with "openai/" |
| any of these `@azure` | the same, on the host with that slug only |
| any of these after `-` | taken away again: a denial wins over every grant, in whatever order they are written |

A name may hold `@` and `/` itself: a pattern that is a model's whole name always stands for that model too. Patterns
speak of models' own names. An alias is another spelling of its model: granting or denying an alias does nothing, so
that turning an alias to another model never changes what anybody may use.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay_contract.nouns import SLUG_PATTERN, Model

_SLUG = re.compile(SLUG_PATTERN)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of a policy, as far as it speaks of one model."""

    text: str  # as written
    host: str | None  # slug; None: every host


@dataclass(frozen=True, slots=True)
class Reach:
    """What a policy says about one model."""

    grants: tuple[Pattern, ...]
    denials: tuple[Pattern, ...]

    @property
    def is_open(self) -> bool:
        """Whether there may be a host on which the model is granted."""
        return bool(self.grants) and all(denial.host is not None for denial in self.denials)

    def grant(self, host: str) -> str | None:
        """The pattern that grants the model on the host with this slug, before denials."""
        return _first(self.grants, host)

    def denial(self, host: str) -> str | None:
        """The pattern that denies it there."""
        return _first(self.denials, host)

    def takes(self, host: str) -> bool:
        """Whether the model may be used on the host with this slug."""
        return self.grant(host) is not None and self.denial(host) is None


def _first(patterns: tuple[Pattern, ...], host: str) -> str | None:
    return next((pattern.text for pattern in patterns if pattern.host is None or pattern.host == host), None)


class Grants:
    """A policy's patterns, compiled: asking about a model costs two look-ups and a glance at each prefix."""

    __slots__ = ("_denied", "_granted")

    def __init__(self, patterns: Iterable[str]) -> None:
        self._granted, self._denied = _Side(), _Side()
        for text in patterns:
            side = self._denied if text.startswith("-") else self._granted
            side.add(text, text.removeprefix("-"))

    def of(self, model: Model) -> Reach:
        """What is said about this model."""
        return Reach(self._granted.about(model), self._denied.about(model))

    def of_whole_host(self, slug: str) -> bool:
        """Whether everything on the host with this slug is granted (`*`, `*@slug`), and nothing there is denied."""
        return any(each.host in (None, slug) for each in self._granted.whole) and not any(
            each.host in (None, slug) for each in self._denied.every
        )


class _Side:
    """The grants, or the denials."""

    __slots__ = ("_names", "_prefixes", "_providers", "every", "whole")

    def __init__(self) -> None:
        self._names: dict[str, list[Pattern]] = {}
        self._providers: dict[str, list[Pattern]] = {}
        self._prefixes: list[tuple[str, Pattern]] = []
        self.every: list[Pattern] = []
        self.whole: list[Pattern] = []
        """Those that stand for every model."""

    def add(self, text: str, pattern: str) -> None:
        """`text` as written, `pattern` without the sign of a denial."""
        if not pattern.endswith("*"):
            self._names.setdefault(pattern, []).append(Pattern(text, None))
        models, _, host = pattern.rpartition("@")
        is_of_host = bool(models) and _SLUG.match(host) is not None
        self.every.append(Pattern(text, host if is_of_host else None))
        if pattern == "*" or (is_of_host and models == "*"):
            self.whole.append(self.every[-1])
        if is_of_host:
            self._add_models(models, Pattern(text, host))
        elif pattern.endswith("*"):
            self._add_models(pattern, Pattern(text, None))

    def _add_models(self, models: str, pattern: Pattern) -> None:
        if not models.endswith("*"):
            self._names.setdefault(models, []).append(pattern)
            return
        self._prefixes.append((models[:-1], pattern))
        if models.endswith("/*"):
            self._providers.setdefault(models[:-2], []).append(pattern)

    def about(self, model: Model) -> tuple[Pattern, ...]:
        """The patterns that stand for this model, the plainest first."""
        found = [*self._names.get(model.name, ()), *self._providers.get(model.owned_by, ())]
        found += [pattern for prefix, pattern in self._prefixes if model.name.startswith(prefix)]
        return tuple(found)
