"""Documents lead somewhere: every relative link, anchor and picture is there, every page is in the index, and the
tests that pages name exist."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
OF_SDKS = sorted([*(ROOT / "sdk").glob("*/README.md"), *(ROOT / "sdk").glob("*/*/README.md")])
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")), *PAGES, *OF_SDKS,
]  # fmt: skip
FENCE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")


def links(text: str) -> Iterator[str]:
    """Where a document leads, code left out."""
    yield from LINK.findall(re.sub(r"`[^`\n]+`", "code", FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """Of its headings, as forges make them: lower case, without punctuation, a dash for each space, -1 for a second."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} (.+)$", FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {slug if number == 0 else f"{slug}-{number}" for slug, last in found.items() for number in range(last + 1)}


@cache
def anchors_of(path: Path) -> set[str]:
    return anchors(path.read_text(encoding="utf-8"))


def broken(path: Path, text: str) -> list[str]:
    """Links of a document at this path that lead nowhere."""
    return [link for link in links(text) if not _leads_somewhere(path, link)]


def _leads_somewhere(path: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors_of(target))


def test_links_and_anchors_are_read_as_forges_read_them() -> None:
    text = "# A `b` and [c](d.md), *e*!\n## Same\n## Same\n```\n[no](no.md)\n# no\n```\n`[no](no.md)` ![p](p.png)\n"
    assert list(links(text)) == ["d.md", "p.png"]
    assert anchors(text) == {"a-b-and-c-e", "same", "same-1"}


def test_what_leads_nowhere_is_found() -> None:
    leads = "[a](README.md) [b](docs/README.md#start-here) [c](https://example.com/x#y) [d](LICENSE)"
    nowhere = "[e](absent.md) [f](docs/README.md#absent) [g](../outside.md) ![h](docs/images/absent.png)"
    assert broken(ROOT / "README.md", leads) == []
    assert len(broken(ROOT / "README.md", nowhere)) == 4


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    assert broken(path, path.read_text(encoding="utf-8")) == []


def test_every_page_is_in_the_index() -> None:
    named = {(INDEX.parent / link.partition("#")[0]).resolve() for link in links(INDEX.read_text(encoding="utf-8"))}
    assert [str(page.relative_to(DOCS)) for page in PAGES if page != INDEX and page not in named] == []


def test_every_picture_is_shown_somewhere() -> None:
    shown = {(path.parent / link).resolve() for path in DOCUMENTS for link in links(path.read_text(encoding="utf-8"))}
    pictures = [picture for picture in (DOCS / "images").iterdir() if picture.suffix in {".png", ".svg"}]
    assert pictures != []
    assert [picture.name for picture in pictures if picture not in shown] == []


def test_tests_that_pages_name_are_there() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert files != set()
    assert sorted(name for name in files if not (ROOT / name).is_file()) == []
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", tests))
    assert set(re.findall(r"`(test_\w+)`", text)) - defined - {"test_rate_limit"} == set()
