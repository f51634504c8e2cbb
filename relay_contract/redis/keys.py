"""Every Redis key, one builder each. All share the hash tag `{relay}`, so one script may touch any of them on a
cluster.

| builder | type | written by | read by | expires |
|---|---|---|---|---|
| `window` | hash | edge, admit.lua | edge, admit.lua | two windows after the last call |
| `leases` | sorted set | edge, admit.lua, settle.lua | edge, admit.lua | one lease after the last call |
| `wake` | string | edge sets, worker clears | edge | 1 s; the worker renews it while it drains |
"""

TAG = "{relay}"


def window(scope: str, owner_id: int, rate_limit_id: int, rule: int) -> str:
    """Calls counted in a sliding window. `scope`: key, policy, project or endpoint; `rule`: its place in the limit."""
    return f"{TAG}:window:{scope}:{owner_id}:{rate_limit_id}:{rule}"


def leases(scope: str, owner_id: int, rate_limit_id: int, rule: int) -> str:
    """Calls in flight: member = reservation id, score = when the lease ends, in ms of Redis time."""
    return f"{TAG}:leases:{scope}:{owner_id}:{rate_limit_id}:{rule}"


def wake(shard: int) -> str:
    """Present while a worker is known to be draining the shard, or was just told to."""
    return f"{TAG}:wake:{shard}"


WAKE_TTL_MS = 1000
