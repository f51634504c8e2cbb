"""Calls that a sync target answers, beside the same calls to the target itself."""

from dataclasses import dataclass

from bench.load import Outcome, Plan
from bench.measure import Sizes, chat_body
from bench.parts import Load, Part
from bench.product import SYNC_PATH, SYNC_TARGET_PATH, Product


@dataclass(frozen=True, slots=True)
class SyncCalls:
    """One round of one caller, one call after the other: to a target itself, and to an endpoint that it answers."""

    direct: Outcome
    relayed: Outcome


def sync_calls(product: Product, sink: Part, sizes: Sizes, rounds: int) -> list[SyncCalls]:
    """In turns, each after a warm-up. BenchError when a call is not answered by the target."""
    body = chat_body("no-model-but-1-KB-of-JSON")
    plain = {"content-type": "application/json"}

    def once(url: str, headers: dict[str, str], count: int) -> Outcome:
        with Load(Plan(url, plain | headers, body, connections=1, count=count, expected_status=204)) as load:
            return load.run()

    def one_round(count: int) -> SyncCalls:
        return SyncCalls(
            once(sink.url + SYNC_TARGET_PATH, {"webhook-id": "direct"}, count),
            once(product.edge_url + SYNC_PATH, {"authorization": f"Bearer {product.relay_key}"}, count),
        )

    one_round(max(20, sizes.sync_calls // 10))
    return [one_round(sizes.sync_calls) for _ in range(rounds)]
