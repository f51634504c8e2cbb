"""What crosses the Celery queue: wake-ups. No payload ever does.

The edge has no Celery; it writes the message itself, in Celery's protocol 2 with JSON body and base64 encoding
(docs.celeryq.dev, "Message Protocol", read 2026-11), as kombu's Redis transport stores it: one LPUSH to a list named
like the queue. `tests/contract/test_messages.py` has kombu read it back.
"""

import base64
import json

from relay_contract.ids import uuid7

QUEUE = "delivery"
DRAIN_TASK = "delivery.drain"


def drain_message(shard: int) -> bytes:
    """The list entry that makes a worker run `delivery.drain(shard)`."""
    task_id = str(uuid7())
    arguments = [[shard], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    message = {
        "body": base64.b64encode(json.dumps(arguments).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": DRAIN_TASK,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "argsrepr": f"({shard},)",
            "kwargsrepr": "{}",
            "retries": 0,
            "timelimit": [None, None],
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": task_id,
        },
    }
    return json.dumps(message, separators=(",", ":")).encode()
