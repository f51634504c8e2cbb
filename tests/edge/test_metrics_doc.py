"""docs/metrics.md lists what the edge and the workers export, no more and no less."""

import re
from pathlib import Path

from tests.edge.inside import inside_edge

ROOT = Path(__file__).resolve().parent.parent.parent


async def test_every_metric_is_documented(
    edge_database_url: str, redis_url: str, tmp_path: Path, free_port: int
) -> None:
    everything = {"RELAY_ACCESS_LOG": "1", "RELAY_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    async with inside_edge(tmp_path, free_port, edge_database_url, redis_url, **everything) as edge:
        families = edge.edge.metrics.registry._families.values()
        exported = {family.name: family.kind for family in families}
    workers = (ROOT / "delivery" / "metrics.py").read_text(encoding="utf-8")
    exported |= dict(re.findall(r"# TYPE (relay_(?:delivery|ledger)_\w+) (\w+)", workers))
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(relay_\w+)(?:\{[^}]*\})?` \| (\w+) \|", text, re.MULTILINE))
    assert documented == exported
