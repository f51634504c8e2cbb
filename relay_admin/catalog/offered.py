"""Columns that are stored, loaded and compared, but not yet offered: nothing acts on them. One place for forms and
catalog documents, so that what an operator can choose is what works."""

from collections.abc import Iterable
from typing import Any

from django.db import models

NOT_OFFERED: dict[type[models.Model], frozenset[str]] = {}


def offered(model: type[models.Model], names: Iterable[str]) -> tuple[str, ...]:
    """Those of these columns that an operator may set, in the same order."""
    hidden = NOT_OFFERED.get(model, frozenset())
    return tuple(name for name in names if name not in hidden)


def offered_fieldsets(model: type[models.Model], fieldsets: Iterable[tuple[Any, tuple[str, ...]]]) -> Any:
    """Fieldsets of a page, given as title and names, without those that would be empty."""
    shown = ((title, offered(model, names)) for title, names in fieldsets)
    return tuple((title, {"fields": names}) for title, names in shown if names)
