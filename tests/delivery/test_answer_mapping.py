"""What a sync target's answer becomes: the same, mapped, or a fault that says where."""

from uuid import UUID

import pytest

from delivery.answer_mapping import AnswerFault, MappedAnswer, map_answer
from delivery.attempt import Fault
from relay_contract.shaping.mapping import compile_mapping

ID = UUID(int=7)
HEADERS = {"content-type": "application/xml", "etag": '"1"', "content-encoding": "identity", "x-shop": "berlin"}


def test_without_a_mapping_it_is_as_it_came() -> None:
    answer = map_answer(None, 204, HEADERS, b"\xff", request_id=ID)
    assert answer == MappedAnswer(204, HEADERS, b"\xff")


def test_a_made_body_is_json_and_loses_what_was_said_of_the_old_one() -> None:
    mapping = compile_mapping(
        {
            "body": {"object": {"code": {"field": "answer:status"}, "order": {"field": "id"}}},
            "headers": {"x-request": {"field": "request:id"}},
        }
    )
    answer = map_answer(mapping, 201, HEADERS, b'{"id": "o-17"}', request_id=ID)
    assert answer == MappedAnswer(
        201,
        {"content-type": "application/json", "x-shop": "berlin", "x-request": str(ID)},
        b'{"code":201,"order":"o-17"}',
    )


def test_headers_alone_leave_the_body() -> None:
    mapping = compile_mapping({"headers": {"x-shop": {"constant": "paris"}}})
    answer = map_answer(mapping, 200, HEADERS, b"\xff not json", request_id=ID)
    assert answer == MappedAnswer(200, HEADERS | {"x-shop": "paris"}, b"\xff not json")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<order/>", "the body is not JSON, or nested too deep"),
        (b'{"id": {"secret": "s"}}', "body: a list, an object or null cannot stand in a text"),
    ],
)
def test_what_does_not_fit_is_a_fault_that_quotes_nothing(body: bytes, text: str) -> None:
    mapping = compile_mapping({"body": {"text": "Order {id}"}})
    answer = map_answer(mapping, 200, {}, body, request_id=ID)
    assert isinstance(answer, AnswerFault)
    assert answer.fault is Fault.ANSWER_MAPPING_FAILED
    assert answer.text.startswith(text)
    assert "secret" not in answer.text
