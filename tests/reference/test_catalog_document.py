"""docs/reference/catalog-document.md against the parts of a catalog document: their fields, and their defaults."""

import re
from collections.abc import Iterable
from typing import Any

import pytest

from relay_admin.catalog import sections
from relay_admin.catalog.sections import SECTIONS, Section
from relay_contract.nouns import CAPABILITIES, CAPABILITY_WORDS, Algorithm, FallbackCondition, Meter
from relay_contract.pricing import PriceMeter
from tests.reference.parts import DOCS

PAGE = (DOCS / "reference" / "catalog-document.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|", re.MULTILINE)
TOLD_ONCE = {"description"}


def text_of(name: str) -> str:
    """What the page says of a part."""
    (text,) = re.findall(rf"^## `{name}`[^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def table(name: str) -> dict[str, tuple[str, str]]:
    """Field to type and default, of the part's own table."""
    return {field: (kind, default.strip()) for field, kind, default in ROW.findall(text_of(name))}


def test_every_part_has_its_table() -> None:
    assert re.findall(r"^## `(\w+)`", PAGE, re.MULTILINE) != []
    assert set(re.findall(r"^## `(\w+)`", PAGE, re.MULTILINE)) == set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.name)
def test_it_has_every_field_and_no_other(section: Section) -> None:
    nested = {child.name for child in sections.children(section)}
    assert set(table(section.name)) == {*section.fields, *section.secret_envs, *nested} - TOLD_ONCE


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.name)
def test_defaults_and_names_are_told_as_they_are(section: Section) -> None:
    told = table(section.name)
    for name in set(section.fields) - TOLD_ONCE:
        kind, default = told[name]
        assert ("*name*" in kind) == (name in section.key), name
        is_needed = sections.is_required(section, name) and name not in section.key
        assert (default == "required") == is_needed, name
        if not is_needed and name not in section.key:
            assert written(sections.default(section, name)) in ("", default.strip("`")), name


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.name)
def test_every_word_that_a_field_may_be_is_told(section: Section) -> None:
    for name in section.fields:
        column = sections.column(section, name)
        choices = getattr(column, "base_field", column).choices or ()
        (row,) = re.findall(rf"^\| `{name}` .*$", text_of(section.name), re.MULTILINE) if choices else ("",)
        assert [word for word, _ in choices if not re.search(rf"\b{word}\b", row)] == [], name


@pytest.mark.parametrize(
    "words", [Meter, Algorithm, FallbackCondition, PriceMeter, CAPABILITIES, *CAPABILITY_WORDS.values()]
)
def test_every_word_inside_of_fields_is_told(words: Iterable[str]) -> None:
    assert [word for word in words if not re.search(rf"\b{word}\b", PAGE)] == []


def written(value: Any) -> str:
    """As the page writes it; "" for what it says in words: nothing, and the default of another row."""
    match value:
        case bool():
            return str(value).lower()
        case int() | str():
            return str(value)
        case [int(), *_]:
            return ", ".join(map(str, value))
        case [str(one)]:
            return one
        case _:
            return ""
