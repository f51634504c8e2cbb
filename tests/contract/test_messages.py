"""The wake-up that the edge writes by hand, read back by the library it imitates."""

import kombu
import redis

from relay_contract.messages import DRAIN_TASK, QUEUE, drain_message


def test_kombu_reads_the_message_and_settles_it(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, kombu.Connection(redis_url) as connection:
        client.lpush(QUEUE, drain_message(3), drain_message(1))
        read: list[tuple[object, kombu.Message]] = []
        queue = kombu.Queue(QUEUE)
        with connection.Consumer(
            queue, accept=["json"], callbacks=[lambda body, message: read.append((body, message))]
        ):
            while len(read) < 2:
                connection.drain_events(timeout=10)
        assert client.hlen("unacked") == 2
        for (body, message), shard in zip(read, (3, 1), strict=True):
            assert body == [[shard], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
            assert message.headers["task"] == DRAIN_TASK
            assert message.headers["ignore_result"] is True
            assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
            assert message.delivery_info["routing_key"] == QUEUE
            message.ack()
        assert client.hlen("unacked") == 0
        assert client.llen(QUEUE) == 0
        assert read[0][1].headers["id"] != read[1][1].headers["id"]
