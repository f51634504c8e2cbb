"""Every Redis key, one builder each. All share the hash tag `{relay}`, so one script may touch any of them on a
cluster.

| builder | type | written and read by | expires |
|---|---|---|---|
| `window` | hash | admit.lua, settle.lua | two windows after the last call |
| `owed` | hash | admit.lua, settle.lua | when nothing is owed any more |
| `leases` | sorted set | admit.lua, settle.lua, renew.lua | one lease after the last call |
| `settled` | string | settle.lua | a day after the edge process' last settlement |
| `BREAKERS` | hash | admit.lua, settle.lua, report.lua; the control plane lists and resets | two days after a change |
| `health` | string | report.lua; the control plane resets | 40 s after the last call |
| `idempotent` | hash | claim.lua, claim_renew.lua, claim_end.lua | with its lease, or when its answer is old enough |
| `kept` | hash | claim.lua, claim_end.lua | two keeping times after the last answer kept |
| `MONEY` | string | the keeper sets, admit.lua reads | - |
| `SEEDING` | string | the keeper, while it makes purses anew | a minute after its last step |
| `purse` | hash | admit.lua, settle.lua, the keeper, the control plane | a budget's 40 days after its period began |
| `alive` | string | each edge process, each second; the keeper reads | 15 s after its last word |
| `EDGES` | set | each edge process adds itself; the keeper removes | - |
| `api_calls` | string | the control plane | two minutes |
| `SCHEDULE` | string | a worker, for a task of the schedule; the control plane reads | two minutes |
| `wake` | string | edge sets, worker renews and clears | 1 s |
| `SYNC_WAKE`, `reply`, `REPLY_ALL` | channel | edge and the workers' sync lane | - |
| `answer` | string | the sync lane sets, the edge reads | `ANSWER_TTL_MS` |

To reset a breaker by hand: `HDEL {relay}:breakers <field>` and `DEL {relay}:health:<field>` (`breakers.py` has the
fields). Every edge process asks Redis at each call, so it is closed from the next call on.
"""

TAG = "{relay}"

BREAKERS = f"{TAG}:breakers"
"""Breakers that are not closed: field -> `breakers.Entry` as JSON. Empty while all is well."""


MONEY = f"{TAG}:money"
"""`<generation>:<seed>:<run id of the server>`. Without it no purse pays: nobody knows what they hold. With `:opening`
behind it none does either, and edges declare what they hold."""
SEEDING = f"{TAG}:money:seeding"
"""Who makes the purses anew: what they write counts as long as this is theirs."""


def purse(kind: str, owner: str) -> str:
    """What may be spent. `kind`: `w` an account, `b` a budget (`<scope>:<id>`, a user's
    `user:<project>.<user>`), `c` a user's share of a pool
    (`<account>:<user>`).

    An account has `granted`, its `version`, `used` (what is spent and held), and of each generation what is spent
    (`spent:<g>`) and what each edge process holds (`h:<process>:<g>`). A budget or share has `bucket` (the number of
    the period), `used` in it, and `h:<process>:<g>`; how much it is comes with each call.
    """
    return f"{TAG}:purse:{kind}:{owner}"


EDGES = f"{TAG}:edges"
"""Every edge process that may hold something, also one that ended."""
ALIVE_MS = 15_000


def alive(process: str) -> str:
    """There while an edge process lives: `<seconds that the oldest of its rows has not been written for>:<seed>`, the
    seed under which it has declared what it holds, with every row of before written. `process`: what it calls itself on
    its connection, 16 hex digits; a new connection is a new process to the keeper."""
    return f"{TAG}:edge:{process}"


def purse_account(key: str) -> int | None:
    """Whose purse it is; None of those of no account."""
    owner = key.removeprefix(purse("w", ""))
    return int(owner) if owner != key and owner.isdecimal() else None


def window(scope: str, owner_id: int, rate_limit_id: int, rule: int) -> str:
    """What a sliding window counted. `scope`: see `Charge`; `rule`: its place in the limit."""
    return f"{TAG}:window:{scope}:{owner_id}:{rate_limit_id}:{rule}"


def owed(scope: str, owner_id: int, rate_limit_id: int, rule: int) -> str:
    """What a GCRA rule counted and what has not drained yet."""
    return f"{TAG}:owed:{scope}:{owner_id}:{rate_limit_id}:{rule}"


def leases(scope: str, owner_id: int, rate_limit_id: int, rule: int) -> str:
    """Calls in flight: member = reservation id, score = when the lease ends, in ms of Redis time."""
    return f"{TAG}:leases:{scope}:{owner_id}:{rate_limit_id}:{rule}"


def settled(process: str) -> str:
    """The number of the last settlement of an edge process. `process`: what it calls itself for as long as it lives."""
    return f"{TAG}:settled:{process}"


def health(breaker: str) -> str:
    """Calls and failures of the last half minute behind a breaker; `breaker` is its field in BREAKERS."""
    return f"{TAG}:health:{breaker}"


def idempotent(project_id: int, key_digest: str) -> str:
    """A call that is made once: `call` (digest of what was asked), `claim` (id of who makes it) while it is being made,
    `answer` (sealed) afterwards. `key_digest`: of the caller's Idempotency-Key."""
    return f"{TAG}:idempotent:{project_id}:{key_digest}"


def kept(project_id: int) -> str:
    """How many bytes of answers a project had kept: `slot` (a keeping time long), in it, and in the one before."""
    return f"{TAG}:kept:{project_id}"


def api_calls(caller: str, minute: int) -> str:
    """How often somebody called the control API in a minute. `caller`: whose calls are counted together."""
    return f"{TAG}:api:{caller}:{minute}"


SCHEDULE = f"{TAG}:schedule"
"""There while the schedule hands out tasks and workers do them."""
SCHEDULE_SECONDS = 120


def wake(shard: int) -> str:
    """Present while a worker is known to be draining the shard, or was just told to."""
    return f"{TAG}:wake:{shard}"


WAKE_TTL_MS = 1000

SYNC_WAKE = f"{TAG}:sync"
"""Published after the commit of a sync delivery: `<edge> <request id>`. Latency only: the lane polls as well."""
REPLY_ALL = f"{TAG}:reply:all"
"""Every edge listens: for an answer whose edge the lane was not told."""
ANSWER_TTL_MS = 120_000


def reply(edge: str) -> str:
    """The channel of one edge process, on which it is told the answers of its callers. `edge`: 16 random hex digits."""
    return f"{TAG}:reply:{edge}"


def answer(request_id: str) -> str:
    """A sync answer that is too large for a message, which then points here."""
    return f"{TAG}:answer:{request_id}"
