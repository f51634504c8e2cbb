"""Every example of docs/shaping.md, as it stands there."""

import json
import re
from pathlib import Path

from relay_contract.shaping.conditions import compile_conditions
from relay_contract.shaping.facts import Facts
from relay_contract.shaping.mapping import check_mapping, compile_mapping, trace_mapping

PAGE = Path(__file__).resolve().parents[2] / "docs" / "shaping.md"
BLOCKS = re.findall(r"^```json (.+?)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
FACTS = Facts(
    body=next(text for kind, text in BLOCKS if kind == "request").encode(),
    headers={"x-shop": "berlin"},
    event_type="order.created",
)


def test_the_conditions_of_the_page_say_what_it_says() -> None:
    examples = [(kind.split()[1], json.loads(text)) for kind, text in BLOCKS if kind.startswith("conditions")]
    assert [said for said, _ in examples] == ["passes", "fails", "passes"]
    for said, document in examples:
        assert compile_conditions(document)(FACTS) is (said == "passes")


def test_the_mappings_of_the_page_give_what_it_says() -> None:
    kinds = [kind for kind, _ in BLOCKS if kind in ("mapping", "gives")]
    assert kinds == ["mapping", "gives"] * 4
    texts = [json.loads(text) for kind, text in BLOCKS if kind in ("mapping", "gives")]
    for document, gives in zip(texts[::2], texts[1::2], strict=True):
        assert check_mapping(document) == ()
        shaped = compile_mapping(document)(FACTS)
        assert (None if shaped.body is None else json.loads(shaped.body)) == gives.get("body")
        assert shaped.headers == gives.get("headers", {})
        assert trace_mapping(document, FACTS).shaped == shaped


def test_every_block_of_the_page_is_looked_at() -> None:
    fences = PAGE.read_text(encoding="utf-8").count("\n```") // 2
    assert len(BLOCKS) == fences
