"""A finished call as the row that is kept of it: what it used, what it cost. Pure, but for the id.

The row is JSON with the fields of `traffic.CallRow`, as its insert takes them. A dict and not the dataclass: making one
of forty-odd fields would cost 3.5 us, which is more than all the rest.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from relay_contract.ids import uuid7_text
from relay_contract.ledger import MAX_AMOUNT, MAX_MARKUP_PPM, MILLION, charge_of
from relay_contract.logs import redacted
from relay_contract.pricing import cost_nanousd
from relay_contract.usage import Usage, UsageSource
from relay_edge.call_record import Bill, CallRecord
from relay_edge.purses import Paying

CHARACTERS_A_TOKEN = 4
"""Of English text, by OpenAI's own rule of thumb; what a call is counted by where the host said nothing."""
USUAL_AUDIO_BYTES_A_SECOND = 4_000
"""32 kbit/s, to which speech is often compressed: what sound is counted by where the host does not say its length."""
MAX_NAME_LENGTH = 256
"""Of what the caller wrote in `model`; the column's length."""

_MAX_BIGINT = 2**63 - 1
_MOST_CHARGED = MAX_AMOUNT * MILLION // (MILLION + MAX_MARKUP_PPM)
"""Of a call's cost: a host's usage is not ours to trust, and a row of the ledger has its bound."""
_NUL = b"\\u0000"
_NOTHING = Usage()
_FIRST_FAILURE = 400

encode = msgspec.json.Encoder().encode


class CallToKeep:
    """A finished call with the id of its row. Its JSON is made with that of its batch: a loop over many costs half of
    what each would by itself, in between of everything else."""

    __slots__ = ("id", "record")

    def __init__(self, record: CallRecord) -> None:
        self.id = record.request_id if record.is_own_id else uuid7_text()
        self.record = record

    def encoded(self) -> bytes:
        """The row's JSON."""
        return encode_row(_call_row(self.id, self.record))


def is_kept(record: CallRecord) -> bool:
    """No row is kept of a call of nobody."""
    return record.project_id is not None


def encode_row(row: Any) -> bytes:
    """JSON of a dict or a row's dataclass, without what no text in Postgres holds: NUL, half of a surrogate pair."""
    try:
        encoded = encode(row)
    except UnicodeError:
        return encode(mended(msgspec.to_builtins(row)))
    return encode(mended(msgspec.json.decode(encoded))) if _NUL in encoded else encoded


def mended(value: Any) -> Any:
    """The value without what no column takes; a character that cannot be kept becomes U+FFFD."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case bool():
            return value
        case int():
            return max(-_MAX_BIGINT, min(value, _MAX_BIGINT))
        case dict():
            return {mended(name): mended(inner) for name, inner in value.items()}
        case list() | tuple():
            return [mended(inner) for inner in value]
        case _:
            return value


def used(record: CallRecord) -> tuple[Usage, UsageSource]:
    """What the call used and how that is known; estimated where a host answered and did not say."""
    if record.is_free:
        return _NOTHING, UsageSource.NONE
    output_tokens = -(-record.delivered_characters // CHARACTERS_A_TOKEN)
    if record.usage is not None:
        if record.usage_source is UsageSource.PARTIAL and output_tokens > record.usage.output_tokens:
            return replace(record.usage, output_tokens=output_tokens), UsageSource.PARTIAL
        return record.usage, UsageSource.PROVIDER if record.usage_source is UsageSource.NONE else record.usage_source
    if record.candidate is None or not (record.status < _FIRST_FAILURE or record.delivered_characters):
        return _NOTHING, UsageSource.NONE
    prompt_tokens = record.prompt_tokens
    if prompt_tokens is None:
        prompt_tokens = -(-record.bytes_in // CHARACTERS_A_TOKEN)  # of the whole body: more than the prompt in it
    most = record.candidate.model.capabilities.context_tokens
    return (
        Usage(
            input_tokens=prompt_tokens if most is None else min(prompt_tokens, most),
            output_tokens=output_tokens,
            input_audio_seconds=-(-record.audio_bytes // USUAL_AUDIO_BYTES_A_SECOND),
        ),
        UsageSource.ESTIMATED,
    )


def bill_of(record: CallRecord) -> Bill:
    """What the call used and cost; reckoned once, when the call is over."""
    bill = record.bill
    if bill is None:
        usage, source = used(record)
        told = record.told
        bill = told if told is not None and told.usage is usage and told.source is source else None
        record.bill = bill = priced(record, usage, source) if bill is None else bill
    return bill


def priced(record: CallRecord, usage: Usage, source: UsageSource) -> Bill:
    """What this usage costs at the host that was tried last, and whoever pays."""
    if record.is_free:
        usage, source = _NOTHING, UsageSource.NONE
    pricing = None if record.candidate is None else record.candidate.pricing
    cost = None if pricing is None else 0 if source is UsageSource.NONE else cost_nanousd(pricing.rates, usage)
    charge, markup = _charged(record.paying, cost or 0)
    return Bill(usage, source, cost, charge, markup)


def _charged(paying: Paying | None, cost: int) -> tuple[int, int]:
    return (0, 0) if paying is None else charge_of(min(cost, _MOST_CHARGED), paying.markup_ppm)


def requested_model(record: CallRecord) -> str:
    """As it was written where it named a model; else it may be anything, a key in the wrong field included."""
    return redacted(record.requested_model) if record.candidate is None else record.requested_model


def _call_row(call_id: str, record: CallRecord) -> dict[str, Any]:
    candidate, started = record.candidate, record.started
    bill = bill_of(record)
    usage = bill.usage
    reached = candidate or record.reached
    pricing = None if candidate is None else candidate.pricing
    paying = record.paying
    return {
        "id": call_id,
        "request_id": record.request_id,
        "received_at": datetime.fromtimestamp(record.received_at, UTC),
        "project_id": record.project_id,
        "relay_key_id": record.relay_key_id,
        "user_id": record.user_id,
        "mode": record.mode,
        "surface": record.surface,
        "requested_model": requested_model(record)[:MAX_NAME_LENGTH],
        "model_id": None if candidate is None else candidate.model.id,
        "model": "" if candidate is None else candidate.model.name,
        "host_id": None if reached is None else reached.host.id,
        "host": "" if reached is None else reached.host.slug,
        "host_key_id": None if reached is None else reached.key.id,
        "binding_id": None if candidate is None else candidate.binding.id,
        "status": record.status,
        "error": record.error,
        "error_source": record.error_source or "",
        "finish": record.finish,
        "is_stream": record.is_stream,
        "attempts": record.tries,
        "usage_source": bill.source,
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_5m_tokens": usage.cache_write_5m_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "input_image_tokens": usage.input_image_tokens,
        "output_tokens": usage.output_tokens,
        "output_audio_tokens": usage.output_audio_tokens,
        "output_image_tokens": usage.output_image_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "server_tool_calls": usage.server_tool_calls,
        "cost_nanousd": bill.cost_nanousd,
        "pricing_id": None if pricing is None else pricing.id,
        "tags": record.tags,
        "total_us": int((record.ended - started) * 1_000_000),
        "upstream_us": int(record.upstream_seconds * 1_000_000),
        "first_token_us": None if record.first_token is None else int((record.first_token - started) * 1_000_000),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "input_audio_seconds": usage.input_audio_seconds,
        "pricing_version": 0 if pricing is None else pricing.version,
        "estimated_price": candidate is not None and candidate.estimate_id is not None,
        "application_id": record.application_id,
        "payer_id": None if paying is None else paying.account,
        "charge_microcredits": bill.charge,
        "markup_microcredits": bill.markup,
        "terms_id": None if paying is None or not bill.markup else paying.terms_id,
        "generation": None if record.reservation is None else record.reservation.generation,
    }
