"""What an answer means for a sync delivery and for its caller, and where answers are kept. The meaning is pure.

An answer is an answer: whatever its status says, the caller has it and knows what to make of it. Only 5xx count as a
target's failure. No answer is no reason to ask again, since nobody knows what the first call did.
"""

import asyncio
import json
from dataclasses import replace
from functools import partial
from math import ceil

from delivery import outcome
from delivery.answer_mapping import IN_THREAD_BYTES, AnswerFault, map_answer
from delivery.attempt import Answer, Claim, Fault, Whole
from delivery.database import Connection
from delivery.outcome import Dead, Delivered
from relay_contract.intake import DeadReason
from relay_contract.replies import MAX_RETRY_SECONDS, Reply, as_object, passed

KEEP = """
INSERT INTO deliveries_answer (delivery_id, request_id, status, headers, body, is_cut, duration_ms, at)
VALUES (%b, %b, %b::int, %t::jsonb, %b, false, %b::int, now()) ON CONFLICT DO NOTHING
RETURNING delivery_id
"""

_REASONS = {
    **outcome.DEAD_AT_ONCE,
    Fault.NO_ROOM: DeadReason.NO_ROOM,
    Fault.WORKER_STOPPED: DeadReason.UNKNOWN_OUTCOME,
}


def checked(answer: Answer) -> Answer:
    """The answer, with a fault where the caller cannot be given all of it."""
    if answer.fault is not None:
        return answer
    if answer.whole is None:
        return _failed(answer, Fault.ANSWER_TOO_LARGE)
    if passed(answer.whole.headers) is None:
        return _failed(answer, Fault.RESPONSE_HEADER_TOO_LARGE)
    return answer


async def mapped(claim: Claim, answer: Answer) -> Answer:
    """A checked answer as the target's answer mapping makes it; a long one is mapped in a thread."""
    whole, destination = answer.whole, claim.destination
    if answer.fault is not None or whole is None or answer.status is None or isinstance(destination, Fault):
        return answer
    mapping = None if destination.needs is None else destination.needs.answer_mapping
    if mapping is None:
        return answer
    given = as_object(passed(whole.headers) or ())
    apply = partial(map_answer, mapping, answer.status, given, whole.body, request_id=claim.request_id)
    made = apply() if len(whole.body) <= IN_THREAD_BYTES else await asyncio.to_thread(apply)
    if isinstance(made, AnswerFault):
        return replace(_failed(answer, made.fault), excerpt=made.text.encode(), is_cut=False)
    lines = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in made.headers.items())
    return replace(answer, whole=Whole(lines, made.body))


def judge(answer: Answer) -> Delivered | Dead:
    """What becomes of the delivery."""
    if answer.fault is not None:
        return Dead(_REASONS.get(answer.fault, DeadReason.ATTEMPTS_EXHAUSTED))
    if answer.status is None:
        raise ValueError("an answer has a status or a fault")
    return Delivered() if answer.status < 500 else Dead(DeadReason.ATTEMPTS_EXHAUSTED)


def reply_of(claim: Claim, answer: Answer, wait_seconds: float | None) -> Reply:
    """What the caller is told of a checked answer. `wait_seconds`: until a target without room may have some; None,
    and below 0, where it is neither paused nor at its rate: nobody knows."""
    if answer.fault is not None or answer.whole is None or answer.status is None:
        wait = 0 if wait_seconds is None or answer.fault is not Fault.NO_ROOM else ceil(wait_seconds)
        retry_after = min(MAX_RETRY_SECONDS, max(0, wait))
        return Reply(claim.request_id, 0, fault=str(answer.fault), retry_after_seconds=retry_after)
    return Reply(claim.request_id, answer.status, passed(answer.whole.headers) or (), answer.whole.body)


def _failed(answer: Answer, fault: Fault) -> Answer:
    return Answer(
        answer.started_at,
        answer.duration_ms,
        answer.status,
        fault,
        answer.retry_after,
        answer.excerpt,
        answer.is_cut,
    )


class Answers:
    """Keeps answers through its own connection; for any number of tasks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    async def keep(self, claim: Claim, reply: Reply, duration_ms: int) -> None:
        """Once for each delivery, for whoever asks for it later. Raises DatabaseAway."""
        async with self._turn:
            await self._connection.rows(
                KEEP,
                (
                    claim.delivery_id,
                    claim.request_id,
                    reply.status,
                    json.dumps(as_object(reply.lines)),
                    reply.body,
                    duration_ms,
                ),
            )
