"""Mirrored calls against the real processes: the model behind an endpoint of `docs/mirror.md`."""

import json
import re
import textwrap
import urllib.request
from typing import Any

import pytest

from tests.system.product import ROOT, Product, wait_for

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

PAGE = (ROOT / "docs" / "mirror.md").read_text(encoding="utf-8")
[MODEL_FRAGMENT] = re.findall(r"```yaml\n(endpoints:.*?)```", PAGE, re.DOTALL)
TARGET = "from relay_admin.catalog.models import Target; print(Target.objects.get(name={!r}).pk)"


def report_of(product: Product, name: str) -> Any:
    target_id = product.manage("shell", "-c", TARGET.format(name)).split()[-1]
    return lambda: product.api(f"/api/v1/shadows/{target_id}/report")


def test_a_model_behind_an_endpoint_with_a_shadow_model(product: Product) -> None:
    """The page's document, with models and an address that are here, and a copy of each call."""
    fragment = (
        MODEL_FRAGMENT.replace("https://relay.example.com", product.edge_url)
        .replace("constant: next-model", "constant: demo-claude")
        .replace("sample_permyriad: 1000", "sample_permyriad: 10000")
    )
    head = "version: 1\nprojects:\n  - slug: demo\n    name: Demo\n    lines:\n      - slug: v1\n"
    product.apply(head + textwrap.indent(fragment, "        "), ASK_RELAY_KEY=product.relay_key)
    body = {"model": "demo-gpt", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(f"{product.edge_url}/r/demo/v1/ask", data=json.dumps(body).encode(), method="POST")
    request.add_header("Authorization", f"Bearer {product.relay_key}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.read().endswith(b"data: [DONE]\n\n")
    report = report_of(product, "next-model")
    found = wait_for(lambda: report()["compared"] and report(), "the pair to be compared")
    assert found["statuses"] == [{"baseline": 200, "shadow": 200, "count": 1}]
    assert found["verdicts"]["same"] == 1
    asked = {call["requestedModel"]: call for call in product.api("/api/v1/calls?limit=2")["results"]}
    assert set(asked) == {"demo-gpt", "demo-claude"}
