"""What code makes of the documentation stands there as the code makes it now."""

import pytest

from tests.reference.parts import DOCS, PARTS, Part


def test_a_part_is_written_between_its_marks() -> None:
    part = Part("page.md", "figures", lambda: "| 2 |\n")
    page = "Before.\n<!-- figures -->\n| 1 |\n<!-- end of figures -->\nAfter.\n"
    assert part.written_into(page) == page.replace("1", "2")
    with pytest.raises(ValueError, match=r"docs/page\.md has no place for figures"):
        part.written_into("Before.\n<!-- figures -->\nAfter.\n")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_it_is_what_the_code_says(part: Part) -> None:
    """`python -m tests.reference` writes them all anew."""
    assert part.text in (DOCS / part.page).read_text(encoding="utf-8")
