"""The lines that `docs/streaming.md` gives to try, and what becomes of a stream, against the real processes."""

import json
import re
import shlex
import subprocess
import urllib.request

import pytest

from tests.system.product import ROOT, Product, wait_for

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

PAGE = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
[EXAMPLES] = re.findall(r"```\n(curl -N.*?)```", PAGE, re.DOTALL)
FIRST, SECOND = EXAMPLES.splitlines()


@pytest.mark.parametrize(("call", "ticks"), [(FIRST, 5), (SECOND, 3)])
def test_the_documented_calls(product: Product, call: str, ticks: int) -> None:
    script = f"RELAY_KEY={shlex.quote(product.relay_key)}; {call.replace('http://127.0.0.1:8080', product.edge_url)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=True)
    *events, last = done.stdout.decode().removesuffix("\n\n").split("\n\n")
    assert [json.loads(event.partition("data: ")[2])["number"] for event in events] == [*range(1, ticks + 1)]
    assert last == "event: done\ndata: {}"


def test_a_stream_becomes_a_finished_delivery_beside_the_queued_one(product: Product) -> None:
    request = urllib.request.Request(f"{product.edge_url}/r/demo/v1/stream?events=1", data=b"{}", method="POST")
    request.add_header("Authorization", f"Bearer {product.relay_key}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert (answer.status, answer.headers["x-relay-target"]) == (200, "ticks")
        request_id = answer.headers["x-request-id"]
        assert answer.read().endswith(b"event: done\ndata: {}\n\n")

    def states() -> list[str]:
        return [delivery["state"] for delivery in product.api(f"/api/v1/requests/{request_id}")["deliveries"]]

    wait_for(lambda: states() == ["delivered", "delivered"], "the stream to be folded")
