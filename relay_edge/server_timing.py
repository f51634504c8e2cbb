"""`server-timing`: what the relay itself took of a call's time so far (w3.org/TR/server-timing). Pure; 0.8 us.

`relay` is everything but hosts and waiting for them, `admission` the part of it that limits and breakers took. An
answer's head has what was known when the call went to the host that gives it.
"""

from relay_contract.headers import SERVER_TIMING
from relay_edge.call_record import CallRecord


def value(record: CallRecord, now: float) -> str:
    """Such as `relay;dur=0.412, admission;dur=0.203`, in milliseconds. Call it while no host is being waited for."""
    relay_ms = (now - record.started - record.upstream_seconds) * 1000
    asked, admitted = record.asked, record.admitted
    if asked is None or admitted is None:
        return f"relay;dur={relay_ms:.3f}"
    return f"relay;dur={relay_ms:.3f}, admission;dur={(admitted - asked) * 1000:.3f}"


def line(record: CallRecord, now: float) -> bytes:
    """The header line."""
    return f"{SERVER_TIMING}: {value(record, now)}\r\n".encode("ascii")
