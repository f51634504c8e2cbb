"""Form fields for columns that hold a list of objects: each is a row of fields, so that nobody has to write JSON."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django import forms
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils.datastructures import MultiValueDict
from django.utils.safestring import SafeString, mark_safe
from unfold.widgets import CHECKBOX_CLASSES, INPUT_CLASSES, SELECT_CLASSES

from relay_admin.catalog import prices, validators
from relay_contract import nouns
from relay_contract.pricing import PriceMeter

Row: TypeAlias = dict[str, Any]
"""A row as it is typed: text by the name of its cell, a list of texts for boxes to tick."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a row. `kind`: text, number, choice, or choices (boxes to tick)."""

    name: str
    label: str  # for who does not see the words around it
    kind: str = "text"
    options: Sequence[tuple[str, str]] = ()
    before: str = ""
    after: str = ""
    width: str = "6rem"  # at least

    @property
    def counts(self) -> bool:
        """Whether a row is one because this cell is filled; a choice always is."""
        return self.kind in ("text", "number")


class RowsWidget(forms.Widget):
    """Rows of cells. A row in which nothing is typed does not count."""

    template_name = "relay/rows_widget.html"

    def __init__(self, cells: Sequence[Cell], *, most: int, noun: str) -> None:
        super().__init__()
        self.cells = cells
        self.most = most
        self.noun = noun

    def get_context(self, name: str, value: Any, attrs: Mapping[str, Any] | None) -> dict[str, Any]:
        """Existing rows and an empty one. A button adds more; without JavaScript each save does."""
        context = super().get_context(name, value, dict(attrs or {}))
        given = value if isinstance(value, list) else []
        rows = [*given, {}][: self.most]
        context["widget"] |= {
            "rows": [
                [self._filled(f"{name}-{index}", cell, row) for cell in self.cells] for index, row in enumerate(rows)
            ],
            "most": self.most,
            "noun": self.noun,
            "input_class": " ".join(INPUT_CLASSES),
            "select_class": " ".join(SELECT_CLASSES),
            "checkbox_class": " ".join(CHECKBOX_CLASSES),
        }
        return context

    def _filled(self, prefix: str, cell: Cell, row: Row) -> dict[str, Any]:
        return {"cell": cell, "name": f"{prefix}-{cell.name}", "value": row.get(cell.name, "")}

    def render(self, name: str, value: Any, attrs: Mapping[str, Any] | None = None, renderer: Any = None) -> SafeString:  # noqa: ARG002
        """By the site's templates: Django's form renderer knows its own only."""
        return mark_safe(render_to_string(self.template_name, self.get_context(name, value, attrs)))  # noqa: S308

    def format_value(self, value: Any) -> Any:
        """Rows stay rows."""
        return value

    def value_from_datadict(self, data: Mapping[str, Any], _files: MultiValueDict, name: str) -> list[Row]:
        """The rows as they were typed."""
        rows = []
        for index in range(self.most):
            row = {cell.name: self._typed(data, f"{name}-{index}-{cell.name}", cell) for cell in self.cells}
            if any(row[cell.name] for cell in self.cells if cell.counts):
                rows.append(row)
        return rows

    def _typed(self, data: Mapping[str, Any], name: str, cell: Cell) -> Any:
        if cell.kind == "choices":
            return data.getlist(name) if isinstance(data, MultiValueDict) else list(data.get(name, ()))
        return str(data.get(name, "")).strip()

    def value_omitted_from_data(self, data: Mapping[str, Any], _files: MultiValueDict, name: str) -> bool:
        """A form without the widget leaves the column alone."""
        return not any(f"{name}-0-{cell.name}" in data for cell in self.cells)


class RowsField(forms.Field):
    """A column that holds a list of objects. Says what is stored for a row and what is shown of it; the rest of the
    rules are the model's."""

    cells: Sequence[Cell] = ()
    most = 0
    noun = "row"

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        super().__init__(widget=RowsWidget(self.cells, most=self.most, noun=self.noun), **kwargs)

    def typed(self, stored: dict[str, Any]) -> Row:
        """A stored object as somebody would type it; a row that was typed and refused as it is."""
        raise NotImplementedError

    def stored(self, row: Row) -> dict[str, Any]:
        """A typed row as it is stored. Raises ValueError or ValidationError with what to write instead."""
        raise NotImplementedError

    def prepare_value(self, value: Any) -> Any:
        """Stored objects -> rows."""
        return [self.typed(row) for row in value or ()]

    def to_python(self, value: Any) -> list[dict[str, Any]]:
        """Typed rows -> what is stored."""
        found = []
        for number, row in enumerate(value or (), 1):
            try:
                found.append(self.stored(row))
            except ValueError as error:
                raise ValidationError(f"{self.noun.capitalize()} {number}: {error}.") from None
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compares what would be stored."""
        try:
            return self.to_python(data) != (initial or [])
        except ValidationError:
            return True


def _whole(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"write a whole number for {what}")
    return int(text)


class RulesField(RowsField):
    """`RateLimit.rules`."""

    cells = (
        Cell("amount", "amount", "number", width="8rem"),
        Cell(
            "meter",
            "meter",
            "choice",
            (
                (nouns.Meter.REQUESTS, "requests"),
                (nouns.Meter.TOKENS, "tokens"),
                (nouns.Meter.COST, "micro-USD of cost"),
                (nouns.Meter.CONCURRENCY, "calls in flight"),
            ),
            width="11rem",
        ),
        Cell("window_seconds", "window in seconds", "number", before="in", after="seconds,"),
        Cell(
            "algorithm",
            "algorithm",
            "choice",
            ((nouns.Algorithm.SLIDING_WINDOW, "sliding window"), (nouns.Algorithm.GCRA, "spread evenly (gcra)")),
            width="12rem",
        ),
        Cell("burst", "burst", "number", before="at once", width="4rem"),
    )
    most = validators.MAX_RULES
    noun = "rule"

    def typed(self, stored: dict[str, Any]) -> Row:
        return {cell.name: str(stored.get(cell.name, "")) for cell in self.cells}

    def stored(self, row: Row) -> dict[str, Any]:
        rule = {
            "meter": row["meter"],
            "amount": _whole(row["amount"], "the amount"),
            "window_seconds": _whole(row["window_seconds"], "the seconds"),
        }
        if row["algorithm"] in ("", nouns.Algorithm.SLIDING_WINDOW):
            if row["burst"]:
                raise ValueError("what may come at once belongs to a rule that is spread evenly")
            return rule
        return {**rule, "algorithm": row["algorithm"], "burst": _whole(row["burst"] or "1", "what may come at once")}


class RatesField(RowsField):
    """`Pricing.rates`, in USD."""

    cells = (
        Cell("meter", "meter", "choice", tuple(prices.METER_NAMES.items()), width="18rem"),
        Cell("usd", "price in USD", before="USD", width="7rem"),
        Cell("above_tokens", "prompts above", "number", before="for prompts above", after="tokens", width="7rem"),
    )
    most = validators.MAX_RATES
    noun = "rate"

    def typed(self, stored: dict[str, Any]) -> Row:
        if "usd" in stored:
            return stored
        usd = prices.usd_text(stored["meter"], stored["nanousd_per_million"])
        return {"meter": stored["meter"], "usd": usd, "above_tokens": str(stored.get("above_tokens") or "")}

    def stored(self, row: Row) -> dict[str, Any]:
        if row["meter"] not in list(PriceMeter):
            raise ValueError("choose a meter")
        return {
            "meter": row["meter"],
            "nanousd_per_million": prices.nanousd_per_million(row["meter"], row["usd"]),
            "above_tokens": _whole(row["above_tokens"] or "0", "the tokens"),
        }

    def to_python(self, value: Any) -> list[dict[str, Any]]:
        """In their usual order, so that a row may be added at the end."""
        return prices.in_order(super().to_python(value))


_CONDITIONS = tuple((str(condition), condition.replace("_", " ")) for condition in nouns.FallbackCondition)
_BETWEEN_NAMES = re.compile(r"[\s,]+")


def _names(text: str) -> list[str]:
    return [name for name in _BETWEEN_NAMES.split(text) if name]


class FallbacksField(RowsField):
    """`Policy.fallbacks`."""

    cells = (
        Cell("models", "models", before="When", width="9rem"),
        Cell("when", "conditions", "choices", _CONDITIONS, before="fails by"),
        Cell("then", "fallback models", before="try", width="14rem"),
    )
    most = validators.MAX_FALLBACKS
    noun = "fallback"

    def typed(self, stored: dict[str, Any]) -> Row:
        if isinstance(stored["models"], str):
            return stored
        return {**stored, "models": ", ".join(stored["models"]), "then": ", ".join(stored["then"])}

    def stored(self, row: Row) -> dict[str, Any]:
        fallback = {"models": _names(row["models"]), "when": row["when"], "then": _names(row["then"])}
        if not all(fallback.values()):
            raise ValueError("name the models, tick a condition, and name what to try")
        return fallback
