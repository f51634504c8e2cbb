"""Money in a real Valkey, written as the keeper writes it (`keys.purse`, `keys.MONEY`), and callers who spend it."""

from dataclasses import replace
from typing import Any

from relay_contract.nouns import AccountId, Billing, Budget, Payer
from relay_contract.periods import Period
from relay_contract.redis import keys
from relay_edge.purses import PurseSet, key_purses
from tests.edge.nouns import PROJECT, RELAY_KEY

WALLET = int(PROJECT.live_wallet_id)
PREPAID = replace(PROJECT, billing=Billing.PREPAID)
USERS_KEY = replace(RELAY_KEY, pays=Payer.USER, wallet_id=AccountId(300), user_id=7)


def open_money(connection: Any, granted: dict[int, int], *, generation: int = 1, seed: int | None = None) -> None:
    """Every wallet anew, then the marker, as after a seeding."""
    for account, amount in granted.items():
        key = keys.purse("w", str(account))
        connection.delete(key)
        connection.hset(key, mapping={"granted": amount, "version": 1, "used": 0})
    run_id = connection.info("server")["run_id"]
    connection.set(keys.MONEY, f"{generation}:{generation if seed is None else seed}:{run_id}")


def purse(connection: Any, kind: str, owner: object) -> dict[str, int]:
    """What is in one."""
    found = connection.hgetall(keys.purse(kind, str(owner)))
    return {name.decode(): int(value) for name, value in found.items()}


def held(purse_fields: dict[str, int]) -> int:
    """By all processes, under all generations."""
    return sum(amount for name, amount in purse_fields.items() if name.startswith("h:"))


def prepaid(**budgets: int) -> PurseSet:
    """A relay key of a project that pays beforehand; `key` and `project`: micro-credits a day."""
    amounts = {name: Budget(amount, Period.DAY) for name, amount in budgets.items()}
    return key_purses(replace(PREPAID, budget=amounts.get("project")), replace(RELAY_KEY, budget=amounts.get("key")))
