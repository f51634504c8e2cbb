"""What pays for a caller's calls and what caps them, prepared once per caller: accounts, budgets, Redis keys. Pure.

A *purse* is a hash in Redis that admission asks before a call is made (`keys.purse`). A project that pays afterwards
has an account and no purse: its calls are charged, and nobody is asked. A budget is a purse whoever pays, and a user's
own wallet is always asked, as is the pool that a project sets aside for its users.

A call has one payer, the first of `payers` that can pay all of what it may cost. A mark-up is charged where a user's
wallet pays alone: the project that earns it would pay itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from relay_contract.ledger import charge_of
from relay_contract.nouns import AccountId, Billing, Budget, KeyMode, Payer, Project, RelayKey, TermsId
from relay_contract.periods import Period, index
from relay_contract.redis import keys
from relay_edge.charges import packed, packed_number

_LETTERS = {Period.DAY: b"d", Period.WEEK: b"w", Period.MONTH: b"m"}
_BUDGET = "b"
_CAP = "c"


PursePart = tuple[bytes, int, bytes, int]
"""Rules of settle.lua about purses: their keys and how many they are, their arguments and how many."""


@dataclass(frozen=True, slots=True, eq=False)
class Capped:
    """What may be spent in a calendar period, and where it is counted. `scope`: key, user, project, grant or pool."""

    scope: str
    limit: int  # micro-credits
    period: Period
    packed_key: bytes
    packed_limit: bytes  # limit and letter of the period, as admit.lua takes them


@dataclass(frozen=True, slots=True, eq=False)
class Paying:
    """An account that may pay."""

    account: AccountId
    markup_ppm: int
    terms_id: TermsId | None  # that the mark-up is shared by; None where there is none
    caps: tuple[Capped, ...]  # none, or a user's share of a pool
    packed_keys: bytes  # its own, its cap's
    packed: bytes  # arguments of admit.lua

    def need(self, price: int, most: int) -> int:
        """What it is asked for: mark-up is either the caller's only one or none."""
        return most if self.markup_ppm else price


@dataclass(frozen=True, slots=True, eq=False)
class PurseSet:
    """Who pays for a caller, in order of preference, and what caps it. Whatever is packed is so once for all calls."""

    payers: tuple[Paying, ...]
    budgets: tuple[Capped, ...]
    is_prepaid: bool  # whether a payer has to have the money before the call
    is_asked: bool  # whether admission has a purse to ask; else calls are charged and nothing more
    markup_ppm: int  # the highest of the payers'
    packed_keys: bytes  # of money and every purse, in the order of admit.lua
    key_count: int
    packed: bytes  # arguments of admit.lua about all of them
    argument_count: int
    budget_keys: bytes

    def most(self, price: int) -> int:
        """What such a call is charged at the most, whoever pays."""
        return charge_of(price, self.markup_ppm)[0] if self.markup_ppm else price


class Stamp:
    """Under which an edge process holds, and how that is written; made once for each generation that it sees."""

    __slots__ = ("asking", "generation", "holding", "process", "run_id", "seed", "spending")

    def __init__(self, process: bytes, generation: int, seed: int, run_id: bytes) -> None:
        """`generation` and `seed` 0: they are not known yet."""
        self.process = process
        self.generation = generation
        self.seed = seed
        self.run_id = run_id
        field = b"h:%b:%d" % (process, generation)
        self.asking = packed([b"%d:%d:%b" % (generation, seed, run_id), field])
        self.holding = packed([field])
        self.spending = packed([field, b"spent:%d" % generation])

    def at(self, generation: int, seed: int) -> "Stamp":
        """The same process under another marker."""
        return Stamp(self.process, generation, seed, self.run_id)


@dataclass(slots=True, eq=False)
class PurseHold:
    """What a call asks of purses, and then holds until it is settled. `stamp` changes where it is held anew."""

    purses: PurseSet
    price: int
    most: int
    stamp: Stamp
    paying: Paying | None = None  # None: budgets alone were asked
    at_ms: int = 0  # Redis time of the reservation

    @property
    def generation(self) -> int:
        """Of purses, under which it is held."""
        return self.stamp.generation

    @property
    def held(self) -> int:
        """Of the payer, and of its cap; each budget holds `most`."""
        return 0 if self.paying is None else self.paying.need(self.price, self.most)

    def asked(self) -> bytes:
        """admit.lua's arguments."""
        return b"%b$16\r\n%016d\r\n$16\r\n%016d\r\n%b" % (self.stamp.asking, self.price, self.most, self.purses.packed)

    def settled(self, charge: int) -> PursePart:
        """Of a settlement: what was held is given back, the charge is spent."""
        return self._part(b"w", b"b", min(charge, _MOST))

    def declared(self) -> PursePart:
        """Of a settlement: a Redis that has not heard of it holds it from now on."""
        return self._part(b"W", b"B", 0)

    def _part(self, account: bytes, capped: bytes, charge: int) -> PursePart:
        purses, paying, stamp = self.purses, self.paying, self.stamp
        budgets, most = purses.budgets, self.most
        if paying is None:
            names, arguments, count = purses.budget_keys, b"", len(budgets)
        else:
            held = most if paying.markup_ppm else self.price
            arguments = _SETTLED % (account, held, charge, stamp.spending)
            if not budgets and not paying.caps:  # the usual call
                return paying.packed_keys, 1, arguments, _SETTLED_ARGUMENTS
            names, count = paying.packed_keys + purses.budget_keys, 1 + len(paying.caps) + len(budgets)
            for cap in paying.caps:
                arguments += _SETTLED % (capped, held, charge, self._bucket(cap))
        for budget in budgets:
            arguments += _SETTLED % (capped, most, charge, self._bucket(budget))
        return names, count, arguments, _SETTLED_ARGUMENTS * count

    def _bucket(self, cap: Capped) -> bytes:
        return self.stamp.holding + packed_number(index(cap.period, self.at_ms))


_SETTLED = b"$1\r\n%b\r\n$16\r\n%016d\r\n$16\r\n%016d\r\n%b"
_SETTLED_ARGUMENTS = 5
_MOST = 10**16 - 1
"""Sixteen digits, far above MAX_AMOUNT."""


def key_purses(project: Project, key: RelayKey, user_budget: Budget | None = None) -> PurseSet:
    """Of a relay key's calls. `user_budget`: of the key's user in the project."""
    return purse_set(
        project,
        key.mode,
        wallet=key.wallet_id if key.pays is Payer.USER else None,
        user_id=key.user_id,
        user_budget=user_budget,
        budgets=(("key", key.id, key.budget),),
    )


def purse_set(
    project: Project,
    mode: KeyMode,
    *,
    wallet: AccountId | None = None,
    user_id: int | None = None,
    user_budget: Budget | None = None,
    budgets: Iterable[tuple[str, int, Budget | None]] = (),
) -> PurseSet:
    """`wallet`: the user's, where the user pays. `user_budget`: caps the user's calls, whoever pays. `budgets`: scope,
    owner and amount, beside those of user and project."""
    is_live = mode is KeyMode.LIVE
    if wallet is None:
        payers: tuple[Paying, ...] = (_paying(project.live_wallet_id if is_live else project.test_wallet_id),)
    else:
        own = _paying(wallet, project.markup_ppm, project.terms_id)
        pool = _pool(project, project.live_pool_id if is_live else project.test_pool_id, user_id)
        payers = (own,) if pool is None else (pool, own)
    of_user = None if user_id is None else user_budget
    capped = tuple(
        _capped(_BUDGET, scope, f"{scope}:{owner}", budget)
        for scope, owner, budget in (
            *budgets,
            ("user", f"{project.id}.{user_id}", of_user),
            ("project", project.id, project.budget),
        )
        if budget is not None
    )
    is_prepaid = wallet is not None or project.billing is Billing.PREPAID
    asked = payers if is_prepaid else ()
    budget_keys = b"".join([budget.packed_key for budget in capped])
    key_count = 1 + len(capped) + sum(1 + len(payer.caps) for payer in asked)
    return PurseSet(
        payers=payers,
        budgets=capped,
        is_prepaid=is_prepaid,
        is_asked=is_prepaid or bool(capped),
        markup_ppm=max(payer.markup_ppm for payer in payers),
        packed_keys=b"".join([_MONEY_KEY, budget_keys, *[payer.packed_keys for payer in asked]]),
        key_count=key_count,
        packed=b"".join(
            [
                packed_number(len(capped)),
                *[budget.packed_limit for budget in capped],
                packed_number(len(asked)),
                *[payer.packed for payer in asked],
            ]
        ),
        argument_count=6 + 2 * (key_count - 1),
        budget_keys=budget_keys,
    )


def _pool(project: Project, account: AccountId, user_id: int | None) -> Paying | None:
    if user_id is None or not project.pool_cap_microcredits:
        return None
    share = Budget(project.pool_cap_microcredits, Period.MONTH)
    return _paying(account, caps=(_capped(_CAP, "pool", f"{account}:{user_id}", share),))


def _paying(
    account: AccountId, markup_ppm: int = 0, terms_id: TermsId | None = None, caps: tuple[Capped, ...] = ()
) -> Paying:
    names = packed([keys.purse("w", str(account)).encode()]) + b"".join([cap.packed_key for cap in caps])
    arguments = packed([b"1" if markup_ppm else b"0", b"1" if caps else b"0"])
    arguments += b"".join([cap.packed_limit for cap in caps])
    return Paying(account, markup_ppm, terms_id if markup_ppm else None, caps, names, arguments)


def _capped(kind: str, scope: str, owner: str, budget: Budget) -> Capped:
    key = packed([keys.purse(kind, owner).encode()])
    limit = packed([b"%d" % budget.microcredits, _LETTERS[budget.period]])
    return Capped(scope, budget.microcredits, budget.period, key, limit)


_MONEY_KEY = packed([keys.MONEY.encode()])
