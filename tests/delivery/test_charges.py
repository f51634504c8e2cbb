"""Whose fault it was: every code has an answer."""

import pytest

from delivery.attempt import Fault
from delivery.charges import FAULTS_BY_CONTACT, OUR_FAULTS, THEIR_FAULTS, Close, close_of


def test_every_fault_is_on_exactly_one_list() -> None:
    lists = (OUR_FAULTS, THEIR_FAULTS, FAULTS_BY_CONTACT)
    assert {fault.value: sum(fault in each for each in lists) for fault in Fault} == {fault.value: 1 for fault in Fault}


@pytest.mark.parametrize(
    ("state", "reason", "fault", "was_contacted", "close"),
    [
        ("delivered", "", None, True, Close.SETTLE),
        ("discarded", "", None, True, Close.RELEASE),
        ("dead", "permanent_failure", None, True, Close.SETTLE),
        ("dead", "target_gone", None, True, Close.SETTLE),
        ("dead", "attempts_exhausted", "timeout", True, Close.SETTLE),
        ("dead", "attempts_exhausted", Fault.CONNECTION_REFUSED, False, Close.SETTLE),
        ("dead", "attempts_exhausted", Fault.LEASES_LOST, True, Close.RELEASE),
        ("dead", "attempts_exhausted", Fault.INTERNAL_ERROR, False, Close.RELEASE),
        ("dead", "address_refused", Fault.ADDRESS_REFUSED, False, Close.RELEASE),
        ("dead", "payload_expired", Fault.PAYLOAD_EXPIRED, True, Close.RELEASE),
        ("dead", "permanent_failure", "mapping_failed", False, Close.RELEASE),
        ("dead", "target_deleted", Fault.TARGET_DELETED, False, Close.RELEASE),
        ("dead", "target_deleted", Fault.TARGET_DELETED, True, Close.SETTLE),
        ("dead", "expired", None, False, Close.RELEASE),
        ("dead", "expired", "timeout", True, Close.SETTLE),
        ("dead", "unknown_outcome", None, True, Close.RELEASE),
        ("dead", "no_answer_in_time", None, False, Close.RELEASE),
        ("dead", "discarded_by_operator", "timeout", True, Close.RELEASE),
    ],
)
def test_a_hold_ends(state: str, reason: str, fault: str | None, was_contacted: bool, close: Close) -> None:
    assert close_of(state, reason, fault, was_contacted=was_contacted) is close
