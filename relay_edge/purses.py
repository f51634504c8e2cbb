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


@dataclass(frozen=True, slots=True, eq=False)
class Capped:
    """What may be spent in a calendar period, and where it is counted. `scope`: key, project, grant or pool."""

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
    cap: Capped | None  # a user's share of a pool
    packed_key: bytes


@dataclass(frozen=True, slots=True, eq=False)
class PurseSet:
    """Who pays for a caller, in order of preference, and what caps it."""

    payers: tuple[Paying, ...]
    budgets: tuple[Capped, ...]
    is_prepaid: bool  # whether a payer has to have the money before the call
    markup_ppm: int  # the highest of the payers'
    packed_keys: bytes  # of every purse, in the order of admit.lua
    key_count: int

    @property
    def is_asked(self) -> bool:
        """Whether admission has a purse to ask; else calls are charged and nothing more."""
        return self.key_count > 0

    def needs(self, price: int) -> tuple[bytes, int]:
        """admit.lua's arguments for a call of at most this price, and how many they are."""
        most = b"%d" % self.most(price)
        parts = [packed_number(len(self.budgets))]
        parts += [packed([most]) + budget.packed_limit for budget in self.budgets]
        payers = self.payers if self.is_prepaid else ()
        parts.append(packed_number(len(payers)))
        count = 2 + 3 * len(self.budgets)
        for payer in payers:
            parts.append(packed([b"%d" % charge_of(price, payer.markup_ppm)[0]]))
            parts.append(_NO_CAP if payer.cap is None else _HAS_CAP + payer.cap.packed_limit)
            count += 2 if payer.cap is None else 4
        return b"".join(parts), count

    def most(self, price: int) -> int:
        """What such a call is charged at the most, whoever pays."""
        return charge_of(price, self.markup_ppm)[0]


@dataclass(slots=True, eq=False)
class PurseHold:
    """What a call holds of purses until it is settled. `process` and `generation` change where it is held anew."""

    paying: Paying | None  # None: budgets alone were asked
    held: int  # of the payer, and of its cap
    budgets: tuple[Capped, ...]
    budget_held: int  # of each
    at_ms: int  # Redis time of the reservation
    process: bytes
    generation: int

    def settled(self, charge: int) -> "PursePart":
        """Of a settlement: what was held is given back, the charge is spent."""
        return self._part(b"w", b"b", charge)

    def declared(self) -> "PursePart":
        """Of a settlement: a Redis that has not heard of it holds it from now on."""
        return self._part(b"W", b"B", 0)

    def _part(self, account: bytes, capped: bytes, charge: int) -> "PursePart":
        names: list[bytes] = []
        arguments: list[bytes] = []
        spent, under = b"%d" % charge, (self.process, b"%d" % self.generation)
        paying = self.paying
        caps = [(budget, self.budget_held) for budget in self.budgets]
        if paying is not None:
            names.append(paying.packed_key)
            arguments += [account, b"%d" % self.held, spent, *under]
            if paying.cap is not None:
                caps.append((paying.cap, self.held))
        for each, held in caps:
            names.append(each.packed_key)
            arguments += [capped, b"%d" % held, spent, *under, b"%d" % index(each.period, self.at_ms)]
        return PursePart(b"".join(names), len(names), packed(arguments), len(arguments))


@dataclass(frozen=True, slots=True)
class PursePart:
    """Rules of settle.lua about purses: their keys, their arguments, and how many there are of each."""

    packed_keys: bytes
    key_count: int
    packed_arguments: bytes
    argument_count: int


def key_purses(project: Project, key: RelayKey) -> PurseSet:
    """Of a relay key's calls."""
    return purse_set(
        project,
        key.mode,
        wallet=key.wallet_id if key.pays is Payer.USER else None,
        user_id=key.user_id,
        budgets=(("key", key.id, key.budget),),
    )


def purse_set(
    project: Project,
    mode: KeyMode,
    *,
    wallet: AccountId | None = None,
    user_id: int | None = None,
    budgets: Iterable[tuple[str, int, Budget | None]] = (),
) -> PurseSet:
    """`wallet`: the user's, where the user pays. `budgets`: scope, owner and amount, beside the project's own."""
    is_live = mode is KeyMode.LIVE
    if wallet is None:
        payers: tuple[Paying, ...] = (_paying(project.live_wallet_id if is_live else project.test_wallet_id),)
    else:
        own = _paying(wallet, project.markup_ppm, project.terms_id)
        pool = _pool(project, project.live_pool_id if is_live else project.test_pool_id, user_id)
        payers = (own,) if pool is None else (pool, own)
    capped = tuple(
        _capped(_BUDGET, scope, f"{scope}:{owner_id}", budget)
        for scope, owner_id, budget in (*budgets, ("project", project.id, project.budget))
        if budget is not None
    )
    is_prepaid = wallet is not None or project.billing is Billing.PREPAID
    names = [budget.packed_key for budget in capped]
    for payer in payers if is_prepaid else ():
        names += [payer.packed_key] if payer.cap is None else [payer.packed_key, payer.cap.packed_key]
    markup_ppm = max(payer.markup_ppm for payer in payers)
    return PurseSet(payers, capped, is_prepaid, markup_ppm, b"".join(names), len(names))


def _pool(project: Project, account: AccountId, user_id: int | None) -> Paying | None:
    if user_id is None or not project.pool_cap_microcredits:
        return None
    share = Budget(project.pool_cap_microcredits, Period.MONTH)
    return _paying(account, cap=_capped(_CAP, "pool", f"{account}:{user_id}", share))


def _paying(
    account: AccountId, markup_ppm: int = 0, terms_id: TermsId | None = None, cap: Capped | None = None
) -> Paying:
    key = packed([keys.purse("w", str(account)).encode()])
    return Paying(account, markup_ppm, terms_id if markup_ppm else None, cap, key)


def _capped(kind: str, scope: str, owner: str, budget: Budget) -> Capped:
    key = packed([keys.purse(kind, owner).encode()])
    limit = packed([b"%d" % budget.microcredits, _LETTERS[budget.period]])
    return Capped(scope, budget.microcredits, budget.period, key, limit)


_NO_CAP, _HAS_CAP = packed([b"0"]), packed([b"1"])
