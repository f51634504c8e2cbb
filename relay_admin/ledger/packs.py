"""What credits are sold in. Pure."""

import re
from dataclasses import dataclass

from relay_contract.credits import MICRO
from relay_contract.ledger import MAX_AMOUNT

EXPECTED = "packs such as `5000:500:eur 50000:4500:eur`: credits, price in the currency's smallest unit, currency"
_PACK = re.compile(r"([1-9][0-9]{0,8}):([1-9][0-9]{0,8}):([a-z]{3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pack:
    """So many credits at a price in the currency's smallest unit (cents; of yen the yen)."""

    credits: int
    price_minor: int
    currency: str

    def __str__(self) -> str:
        return f"{self.credits}:{self.price_minor}:{self.currency}"

    @property
    def microcredits(self) -> int:
        """As the ledger counts."""
        return self.credits * MICRO


def read_packs(text: str) -> tuple[Pack, ...]:
    """RELAY_CREDIT_PACKS, each once, by space or comma. Raises ValueError for anything else."""
    found = [_read(part) for part in text.replace(",", " ").split()]
    if len(set(found)) != len(found):
        raise ValueError("a pack stands there twice")
    return tuple(found)


def _read(text: str) -> Pack:
    match = _PACK.fullmatch(text)
    if match is None:
        raise ValueError("no pack")
    pack = Pack(int(match[1]), int(match[2]), match[3])
    if pack.microcredits > MAX_AMOUNT:
        raise ValueError("more than one entry may move")
    return pack
