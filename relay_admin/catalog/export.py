"""The catalog as a document: what `read` reads. Fields that have their default are left out; the order is stable."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import yaml
from django.db import models

from relay_admin.catalog import prices
from relay_admin.catalog.document import VERSION
from relay_admin.catalog.models import HostKey
from relay_admin.catalog.sections import (
    ROOTS,
    SECTIONS,
    Kind,
    Path,
    Rows,
    Section,
    children,
    default,
    is_same,
    kind,
    load_rows,
    values_of,
)

_Grouped: TypeAlias = dict[tuple[str, Path], list[tuple[Path, models.Model]]]


def export() -> dict[str, Any]:
    """The whole catalog as plain values, times as ISO 8601 text, prices as Decimal. Secrets are left out;
    `value_env` names theirs."""
    grouped = _grouped(load_rows())
    parts = {section.name: _entries(section, (), grouped) for section in ROOTS}
    return {"version": VERSION} | {name: entries for name, entries in parts.items() if entries}


def part(section: Section, path: Path, rows: Rows) -> dict[str, Any]:
    """One entry with what is nested in it, in the same form. `rows` has at least these."""
    entry = _entry(section, path, rows[section.name][path], _grouped(rows))
    assert isinstance(entry, dict)
    return entry


def fields(section: Section, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an entry that are written: its name, and what is not the default."""
    return {
        name: _written(kind(section, name), value)
        for name, value in values.items()
        if name in section.key or not is_same(kind(section, name), value, default(section, name))
    }


def _grouped(rows: Rows) -> _Grouped:
    grouped: _Grouped = defaultdict(list)
    for name, found in rows.items():
        for path, row in found.items():
            grouped[name, path[: len(path) - len(SECTIONS[name].key)]].append((path, row))
    return grouped


def _entries(section: Section, parent: Path, grouped: _Grouped) -> list[dict[str, Any] | str]:
    return [_entry(section, path, row, grouped) for path, row in grouped.get((section.name, parent), ())]


def _entry(section: Section, path: Path, row: models.Model, grouped: _Grouped) -> dict[str, Any] | str:
    entry = fields(section, values_of(section, row))
    if isinstance(row, HostKey) and row.value_env:
        entry["value_env"] = row.value_env
    if section.is_short and set(entry) == set(section.key):
        return str(entry[section.key[0]])
    nested = {child.name: _entries(child, path, grouped) for child in children(section)}
    return entry | {name: entries for name, entries in nested.items() if entries}


def _written(kind_of: Kind, value: Any) -> Any:
    if kind_of is Kind.RATES:
        return [prices.as_written(rate) for rate in value]
    return value.isoformat() if isinstance(value, datetime) else value


_LINE_BREAKS = set("\r\x85\u2028\u2029\ufeff")


class _Dumper(yaml.SafeDumper):
    """Short lists on one line, entries of a list indented under their name."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 (PyYAML's)
        super().increase_indent(flow, False)

    def list_node(self, data: list[Any]) -> yaml.Node:
        is_short = all(isinstance(item, str | int) for item in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=is_short)

    def dict_node(self, data: dict[str, Any]) -> yaml.Node:
        is_short = "meter" in data or list(data) == ["models", "when", "then"]  # a rule, a rate or a fallback
        return self.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=is_short)

    def text_node(self, data: str) -> yaml.Node:
        # In any other style PyYAML writes these as they are, and reads them back as line breaks.
        style = '"' if _LINE_BREAKS & set(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def price_node(self, data: Decimal) -> yaml.Node:
        text = f"{data:f}"
        return self.represent_scalar(f"tag:yaml.org,2002:{'float' if '.' in text else 'int'}", text)


_Dumper.add_representer(str, _Dumper.text_node)
_Dumper.add_representer(Decimal, _Dumper.price_node)
_Dumper.add_representer(list, _Dumper.list_node)
_Dumper.add_representer(dict, _Dumper.dict_node)


def as_yaml(document: dict[str, Any]) -> str:
    """Plain values -> YAML text, in the order given."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
