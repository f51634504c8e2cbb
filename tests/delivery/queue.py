"""The queue as the edge fills it and as support reads it: rows in Postgres, through SQL of the contract."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from relay_contract import intake, nouns, sealing, signing
from relay_contract.credits import MICRO, units
from tests import intake_rows

PROJECT_ID, ENDPOINT_ID = 1, 1
BODY = b'{"type": "order.created",  "data": "\xc3\xa9"}'


@dataclass(frozen=True)
class Target:
    """A row of the catalog, and the secret that is sealed in it."""

    id: int
    secret: str


@dataclass(frozen=True)
class Accepted:
    """What one call became."""

    request_id: UUID
    deliveries: tuple[UUID, ...]


class Queue:
    """One autocommit connection."""

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, Any]], sealer: sealing.Sealer) -> None:
        self._connection = connection
        self._sealer = sealer
        self._next_target_id = 0

    @classmethod
    async def on(cls, url: str, master_keys: tuple[bytes, ...]) -> "Queue":
        """As the database is."""
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row)
        return cls(connection, sealing.Sealer(*master_keys))

    @classmethod
    async def open(cls, url: str, master_keys: tuple[bytes, ...]) -> "Queue":
        queue = await cls.on(url, master_keys)
        for table, columns in (
            ("project", {"id": PROJECT_ID, "slug": "demo", "name": "", "is_archived": False}),
            ("line", {"id": 1, "project_id": PROJECT_ID, "slug": "v1", "is_enabled": True}),
            ("endpoint", {"id": ENDPOINT_ID, "line_id": 1, "slug": "in", "is_enabled": True, "max_body_bytes": 2**24}),
        ):
            names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
            await queue.sql(
                f"INSERT INTO catalog_{table} ({names}, description, created_at, updated_at)"
                f" VALUES ({places}, '', now(), now())",
                *columns.values(),
            )
        return queue

    async def close(self) -> None:
        await self._connection.close()

    async def sql(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        """Any statement; the rows it returns."""
        cursor = await self._connection.execute(statement, parameters)
        return await cursor.fetchall() if cursor.description else []

    async def target(
        self,
        url: str,
        *,
        timeout_seconds: int = 30,
        schedule: Sequence[int] = (60, 600),
        headers: Mapping[str, str] | None = None,
        sealed: bytes | None = None,
        shard_mate: Target | None = None,
        **columns: object,
    ) -> Target:
        """A target, in a shard of its own as long as there are some, or in that of another. `columns`: any others."""
        self._next_target_id += 1
        target_id = shard_mate.id + 100 * intake.SHARDS if shard_mate else self._next_target_id
        secret = signing.new_secret()
        await self.sql(
            "INSERT INTO catalog_target (id, endpoint_id, name, description, delivery_mode, is_enabled, url, headers,"
            " timeout_seconds, retry_schedule_seconds, created_at, updated_at)"
            " VALUES (%s, %s, %s, '', 'async', true, %s, %s, %s, %s, now(), now())",
            target_id,
            ENDPOINT_ID,
            f"target-{target_id}",
            url,
            json.dumps(dict(headers or {})),
            timeout_seconds,
            list(schedule),
        )
        for name, value in columns.items():
            await self.sql(f"UPDATE catalog_target SET {name} = %s WHERE id = %s", value, target_id)
        await self.sql(
            "INSERT INTO catalog_targetsecret (id, target_id, kind, sealed_value, created_at)"
            " VALUES (%s, %s, 'v1', %s, now())",
            target_id,
            target_id,
            sealed or self._sealer.seal(secret, nouns.target_secret_binding(target_id)),
        )
        return Target(target_id, secret)

    async def delete_targets(self, *targets: Target) -> None:
        """As the admin does it: with their secrets."""
        ids = [target.id for target in targets]
        await self.sql("DELETE FROM catalog_targetsecret WHERE target_id = ANY(%s)", ids)
        await self.sql("DELETE FROM catalog_target WHERE id = ANY(%s)", ids)

    async def accept(
        self,
        *targets: Target,
        body: bytes = BODY,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        calls: int = 1,
        **columns: object,
    ) -> list[Accepted]:
        """What the edge writes for `calls` calls that fan out to these targets. `columns`: any others of deliveries."""
        now = datetime.now(UTC)
        requests, payloads, deliveries, accepted = [], [], [], []
        for _ in range(calls):
            request = intake_rows.request_row(
                project_id=PROJECT_ID,
                endpoint_id=ENDPOINT_ID,
                received_at=now,
                content_type=content_type,
                headers=json.dumps(dict(headers or {})),
                body_bytes=len(body),
                target_count=len(targets),
            )
            made = [
                intake_rows.delivery_row(
                    request_id=request.id,
                    target_id=target.id,
                    created_at=now,
                    body_bytes=len(body),
                    credits=MICRO * units(len(body)),
                    units=units(len(body)),
                    **{"project_id": PROJECT_ID} | columns,
                )
                for target in targets
            ]
            requests.append(request)
            payloads.append(intake.PayloadRow(request.id, now, body))
            deliveries += made
            accepted.append(Accepted(request.id, tuple(delivery.id for delivery in made)))
        arrays = [
            *intake.arrays(intake.RequestRow, requests),
            *intake.arrays(intake.PayloadRow, payloads),
            *intake.arrays(intake.DeliveryRow, deliveries),
        ]
        await self.insert(arrays)
        return accepted

    async def insert(self, arrays: list[Any]) -> None:
        """Rows as the edge commits them."""
        await self._connection.execute(intake.INSERT_BATCH, arrays)

    async def accept_one(self, target: Target, **keywords: Any) -> UUID:
        """One call for one target; the delivery's id."""
        [accepted] = await self.accept(target, **keywords)
        return accepted.deliveries[0]

    async def delivery(self, delivery_id: UUID) -> dict[str, Any]:
        """The delivery's row, with `wait_seconds` to its next attempt by the database's clock."""
        [row] = await self.sql(
            "SELECT *, extract(epoch FROM next_attempt_at - now())::float8 AS wait_seconds"
            " FROM deliveries_delivery WHERE id = %s",
            delivery_id,
        )
        return row

    async def attempts(self, delivery_id: UUID) -> list[dict[str, Any]]:
        """Its attempts, oldest first."""
        return await self.sql("SELECT * FROM deliveries_attempt WHERE delivery_id = %s ORDER BY id", delivery_id)

    async def charges(self, delivery_id: UUID) -> list[tuple[int, str, int]]:
        """The ledger's rows of a delivery in their order: replay, kind, micro-credits."""
        rows = await self.sql(
            "SELECT replay, kind, micro_credits FROM ledger_charge WHERE delivery_id = %s ORDER BY replay, phase",
            delivery_id,
        )
        return [(row["replay"], row["kind"], row["micro_credits"]) for row in rows]

    async def finish(self, state: str) -> None:
        """Move everything that is live to history, without a close."""
        names = ", ".join(intake.columns(intake.DeliveryRow)).replace("state, ", "")
        await self.sql(
            f"WITH gone AS (DELETE FROM deliveries_live RETURNING *) INSERT INTO deliveries_finished"
            f" ({names}, state, finished_at) SELECT {names}, %s, now() FROM gone",
            state,
        )

    async def states(self) -> dict[str, int]:
        """State -> deliveries."""
        rows = await self.sql("SELECT state, count(*) FROM deliveries_delivery GROUP BY state")
        return {row["state"]: row["count"] for row in rows}

    async def until(self, delivery_id: UUID, state: str, attempts: int = 1) -> dict[str, Any]:
        """Wait until the delivery is in a state with so many attempts on record."""

        async def is_there() -> bool:
            row = await self.delivery(delivery_id)
            return row["state"] == state and len(await self.attempts(delivery_id)) >= attempts

        await until(is_there)
        return await self.delivery(delivery_id)

    async def until_states(self, **counts: int) -> None:
        """Wait until exactly so many deliveries are in these states, and none in others."""

        async def are_there() -> bool:
            return await self.states() == counts

        await until(are_there)

    async def make_due(self, *delivery_ids: UUID) -> None:
        """As if the wait, or the lease, were over."""
        await self.sql("UPDATE deliveries_live SET next_attempt_at = now() WHERE id = ANY(%s)", list(delivery_ids))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition that only asking can tell."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 (rows and keys raise no event)
            await asyncio.sleep(0.01)
