"""Whose a field of a seeded row is: the seed's while it has the value that was last seeded, an operator's after. Pure.

`SeededRow.template` keeps those values, in the form of documents. What a model can is looked at one by one, so that an
operator who adds one capability still gets news of the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_APART = ("capabilities",)
"""Fields that are mappings, of which each item is a field of its own here."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What a re-seed makes of a row."""

    changes: dict[str, Any]  # column -> its new value
    taken: tuple[str, ...]  # fields that take the seed's new value
    kept: tuple[str, ...]  # fields that differ from the seed and stay: an operator's


def lay_over(current: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> Overlay:
    """`current`: the row's fields; `old` and `new`: what was seeded and what would be."""
    before, then, now = _flat(current, new), _flat(old, new), _flat(new, new)
    differing = [name for name in sorted({*then, *now}) if before.get(name) != now.get(name)]
    taken = tuple(name for name in differing if before.get(name) == then.get(name))
    merged = {**before, **{name: now.get(name) for name in taken}}
    columns = {name.partition(".")[0] for name in taken}
    changes = {column: _whole(column, merged) for column in sorted(columns)}
    return Overlay(changes, taken, tuple(name for name in differing if name not in taken))


def differences(current: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields that an operator changed -> (here, seeded); what was added to a mapping is one."""
    here, seeded = _flat(current, template), _flat(template, template)
    return {
        name: (here.get(name), seeded.get(name))
        for name in sorted({*here, *seeded})
        if here.get(name) != seeded.get(name)
    }


def _flat(values: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `values` that `like` has, mappings taken apart: `capabilities.context_tokens`."""
    flat: dict[str, Any] = {}
    for name in like:
        if name in _APART:
            flat |= {f"{name}.{item}": value for item, value in (values.get(name) or {}).items() if value is not None}
        else:
            flat[name] = values.get(name)
    return flat


def _whole(column: str, flat: Mapping[str, Any]) -> Any:
    if column not in _APART:
        return flat[column]
    items = {name.partition(".")[2]: value for name, value in flat.items() if name.startswith(f"{column}.")}
    return {name: value for name, value in items.items() if value is not None}
