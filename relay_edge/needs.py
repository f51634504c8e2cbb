"""What a call may use at the most, so that admission can reserve it before a host is asked. Pure.

The prompt is counted by its length, the answer by the caller's bound, else by what the model can write at all. For a
caller who sets no bound no more than UNBOUNDED_TOKENS of answer are reserved in tokens: models write 128,000 and more,
which no usual limit could take in, and hardly any answer comes near it. Cost is reserved whole: money is never passed.
Sound that is billed by its length is as long as its file can make it.
"""

from collections.abc import Sequence
from dataclasses import replace

from relay_contract.pricing import cost_nanousd
from relay_contract.usage import Usage
from relay_edge.charges import ChargeSet
from relay_edge.offers import Offer
from relay_edge.protocols.estimate import estimate
from relay_edge.protocols.form import FormRequest
from relay_edge.protocols.model_name import ModelRequest
from relay_edge.reservation import NOTHING, Need
from relay_edge.routing import Candidate

UNBOUNDED_TOKENS = 8_192
LEAST_AUDIO_BYTES_A_SECOND = 750
"""6 kbit/s, the lowest rate of Opus (RFC 6716, section 2.1.1). What is sparser yet costs more than was reserved."""


def need_of(
    request: ModelRequest | FormRequest,
    charges: ChargeSet,
    offers: Sequence[Offer],
    *,
    paid: Sequence[Candidate] | None = None,
    is_written: bool = True,
    audio_bytes: int = 0,
) -> Need:
    """NOTHING where no limit of the caller or of a host key counts what is used, and no purse pays for it. `paid`: the
    candidates behind the offers, which a purse would have to pay as well; None: no purse is asked. `is_written`:
    whether the answer is made of tokens. `audio_bytes`: of files with sound to listen to."""
    if paid is None and not charges.set.counts_use and not any(offer.limits.counts_use for offer in offers):
        return NOTHING
    candidates = [offer.candidate for offer in offers]
    need = worst_case(request, candidates, is_written=is_written, audio_bytes=audio_bytes)
    if not paid:
        return need
    behind = worst_case(request, paid, is_written=is_written, audio_bytes=audio_bytes)
    return replace(need, price=max(need.price, behind.price))


def worst_case(
    request: ModelRequest | FormRequest,
    candidates: Sequence[Candidate],
    *,
    is_written: bool = True,
    audio_bytes: int = 0,
) -> Need:
    """The most that any of these candidates may take for it, whatever limits there are."""
    prompt_tokens, bound = estimate(request)
    tokens = cost = 0
    last: Candidate | None = None
    for candidate in candidates:
        if last is not None and candidate.model is last.model and candidate.pricing is last.pricing:
            continue  # keys of a pool do not differ in what a call uses
        last = candidate
        most = candidate.model.capabilities.max_output_tokens
        written = min(bound or most or UNBOUNDED_TOKENS, most or bound or UNBOUNDED_TOKENS) if is_written else 0
        tokens = max(tokens, prompt_tokens + (written if bound is not None else min(written, UNBOUNDED_TOKENS)))
        if candidate.pricing is not None:
            seconds = -(-audio_bytes // LEAST_AUDIO_BYTES_A_SECOND)
            worst = Usage(input_tokens=prompt_tokens, output_tokens=written, input_audio_seconds=seconds)
            cost = max(cost, cost_nanousd(candidate.pricing.rates, worst))
    return Need(tokens, cost, cost)
