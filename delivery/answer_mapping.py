"""What a sync target's answer becomes before its caller gets it. Pure.

About 10 us for an answer of some KB, 30 ms and more for what the language allows at most: an answer longer than
`IN_THREAD_BYTES` is mapped off the event loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from delivery.attempt import Fault
from relay_contract.headers import OF_A_BODY
from relay_contract.shaping.facts import Facts
from relay_contract.shaping.mapping import Mapping as ShapingMapping
from relay_contract.shaping.run import MappingError

IN_THREAD_BYTES = 32_768

_OF_THE_OLD_BODY = OF_A_BODY | {"etag", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class MappedAnswer:
    """An answer as the caller gets it. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class AnswerFault:
    """Why there is none. `text` names the place in the mapping and quotes nothing of the answer."""

    fault: Fault
    text: str


def map_answer(
    mapping: ShapingMapping | None, status: int, headers: Mapping[str, str], body: bytes, *, request_id: UUID
) -> MappedAnswer | AnswerFault:
    """The answer as `Destination.needs.answer_mapping` makes it; as it came where that is None. Never raises.

    Header names are in lower case. The status stays: a mapping makes bodies and headers.
    """
    if mapping is None:
        return MappedAnswer(status, headers, body)
    facts = Facts(body=body, headers=headers, request_id=str(request_id), status=status)
    try:
        shaped = mapping(facts)
    except MappingError as error:
        return AnswerFault(Fault.ANSWER_MAPPING_FAILED, str(error))
    if shaped.body is None:
        return MappedAnswer(status, {**headers, **shaped.headers}, body)
    kept = {name: value for name, value in headers.items() if name not in _OF_THE_OLD_BODY}
    return MappedAnswer(status, {**kept, "content-type": "application/json", **shaped.headers}, shaped.body)
