"""What becomes of a stream, against the real processes."""

import urllib.request

import pytest

from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]


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
