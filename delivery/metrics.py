"""The worker's figures as a page of Prometheus text (exposition format 0.0.4). Reads counters, keeps none."""

import asyncio
from collections.abc import Callable

from delivery.drain import Drainer
from delivery.ledger_keeper import Keeper
from delivery.ledger_poster import Posters
from delivery.sync_lane import SyncLane

READ_SECONDS = 5.0
LOOPBACK = "127.0.0.1"  # the figures are for the machine's own collector


def page(drainer: Drainer) -> str:
    """The page. Names end in their unit."""
    figures, paced = drainer.figures, drainer.pacer.figures
    lines = [
        "# TYPE relay_delivery_attempts_total counter",
        *(f'relay_delivery_attempts_total{{outcome="{name}"}} {n}' for name, n in sorted(figures.outcomes.items())),
        "# TYPE relay_delivery_faults_total counter",
        *(f'relay_delivery_faults_total{{fault="{name}"}} {n}' for name, n in sorted(figures.faults.items())),
        "# TYPE relay_delivery_claims_total counter",
        f"relay_delivery_claims_total {figures.claims}",
        "# TYPE relay_delivery_fences_lost_total counter",
        f"relay_delivery_fences_lost_total {drainer.fences_lost}",
        "# TYPE relay_delivery_wake_failures_total counter",
        f"relay_delivery_wake_failures_total {drainer.wake_failures}",
        "# TYPE relay_delivery_deferrals_total counter",
        f"relay_delivery_deferrals_total {drainer.deferred}",
        "# TYPE relay_delivery_let_in_total counter",
        f"relay_delivery_let_in_total {paced.let_in}",
        "# TYPE relay_delivery_expired_waiting_total counter",
        f"relay_delivery_expired_waiting_total {paced.expired}",
        "# TYPE relay_delivery_breakers_opened_total counter",
        f"relay_delivery_breakers_opened_total {drainer.targets.opened}",
        "# TYPE relay_delivery_targets_paused_total counter",
        f"relay_delivery_targets_paused_total {drainer.targets.paused}",
        "# TYPE relay_delivery_targets_disabled_total counter",
        f"relay_delivery_targets_disabled_total {drainer.targets.disabled}",
        "# TYPE relay_delivery_kept_back gauge",
        *(f'relay_delivery_kept_back{{state="{name}"}} {paced.kept_back[name]}' for name in ("waiting", "held")),
        "# TYPE relay_delivery_in_flight gauge",
        f"relay_delivery_in_flight {figures.in_flight}",
        "# TYPE relay_delivery_oldest_due_seconds gauge",
        f"relay_delivery_oldest_due_seconds {figures.oldest_due_seconds:.3f}",
    ]
    return "\n".join(lines) + "\n"


def sync_page(lane: SyncLane) -> str:
    """The same of the sync lane."""
    figures = lane.figures
    lines = [
        "# TYPE relay_delivery_sync_attempts_total counter",
        *(f'relay_delivery_sync_attempts_total{{outcome="{key}"}} {n}' for key, n in sorted(figures.outcomes.items())),
        "# TYPE relay_delivery_sync_faults_total counter",
        *(f'relay_delivery_sync_faults_total{{fault="{key}"}} {n}' for key, n in sorted(figures.faults.items())),
        "# TYPE relay_delivery_sync_claims_total counter",
        f"relay_delivery_sync_claims_total {figures.claims}",
        "# TYPE relay_delivery_sync_fences_lost_total counter",
        f"relay_delivery_sync_fences_lost_total {lane.fences_lost}",
        "# TYPE relay_delivery_sync_unheard_total counter",
        f"relay_delivery_sync_unheard_total {figures.unheard}",
        "# TYPE relay_delivery_sync_swept_total counter",
        *(f'relay_delivery_sync_swept_total{{reason="{key}"}} {n}' for key, n in sorted(figures.swept.items())),
        "# TYPE relay_delivery_sync_channel_failures_total counter",
        f"relay_delivery_sync_channel_failures_total {lane.channel_failures}",
        "# TYPE relay_delivery_sync_in_flight gauge",
        f"relay_delivery_sync_in_flight {figures.in_flight}",
    ]
    return "\n".join(lines) + "\n"


def poster_page(posters: Posters) -> str:
    """The same of what posts calls to the ledger."""
    figures = posters.figures
    lines = [
        "# TYPE relay_delivery_posted_calls_total counter",
        f"relay_delivery_posted_calls_total {figures.calls}",
        "# TYPE relay_delivery_posted_entries_total counter",
        f"relay_delivery_posted_entries_total {figures.entries}",
        "# TYPE relay_delivery_postings_put_back_total counter",
        f"relay_delivery_postings_put_back_total {figures.put_back}",
    ]
    return "\n".join(lines) + "\n"


def keeper_page(keeper: Keeper) -> str:
    """What is done about the purses in Redis, by the one worker whose turn it is."""
    figures = keeper.figures
    lines = [
        "# TYPE relay_ledger_is_keeper gauge",
        f"relay_ledger_is_keeper {int(figures.is_keeper)}",
        "# TYPE relay_ledger_money_generation gauge",
        f"relay_ledger_money_generation {figures.generation}",
        "# TYPE relay_ledger_open_generations gauge",
        f"relay_ledger_open_generations {figures.open_generations}",
        "# TYPE relay_ledger_edges gauge",
        f"relay_ledger_edges {figures.edges}",
        "# TYPE relay_ledger_purses_told_total counter",
        f"relay_ledger_purses_told_total {figures.told}",
        "# TYPE relay_ledger_generations_closed_total counter",
        f"relay_ledger_generations_closed_total {figures.closed}",
        "# TYPE relay_ledger_seedings_total counter",
        f"relay_ledger_seedings_total {figures.seedings}",
    ]
    return "\n".join(lines) + "\n"


async def serve(port: int, read: Callable[[], str]) -> asyncio.Server:
    """Answer every request on the loopback port with the page, and close. Raises OSError when the port is taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                await reader.readuntil(b"\r\n\r\n")
                body = read().encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a caller that does not speak HTTP gets no answer
        finally:
            writer.close()

    return await asyncio.start_server(answer, LOOPBACK, port)
