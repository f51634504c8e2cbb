"""redis-py's clients of the edge: a connection that ended while nobody used it is not shown to who uses it next."""

import redis.asyncio

from relay_edge.redis_clients import redis_client


async def test_a_connection_that_ended_meanwhile_is_opened_anew(redis_url: str) -> None:
    client = redis_client(redis_url, 1.0, 1)
    async with client, redis.asyncio.Redis.from_url(redis_url) as other:
        own_id = await client.client_id()
        await other.client_kill_filter(_id=own_id)
        assert await client.client_id() != own_id
