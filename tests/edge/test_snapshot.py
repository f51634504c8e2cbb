"""The snapshot: look-ups by meaning, and the law that applying changes equals building anew."""

from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract import nouns
from relay_contract.nouns import NOUNS, Noun
from relay_edge.catalog.buckets import BUCKETS, Buckets
from relay_edge.catalog.snapshot import EndpointRoute, Snapshot
from tests.edge.nouns import (
    BINDING,
    ENDPOINT,
    EVERYTHING,
    HOST,
    HOST_KEY,
    LINE,
    MODEL,
    POLICY,
    PROJECT,
    RATE_LIMIT,
    RELAY_KEY,
    TARGET,
    TARGET_SECRET,
    numbered,
)

# Few ids and few names: rows must collide, change parents and trade names all the time.
IDS = st.integers(1, 4)
NAMES = st.sampled_from(["a", "b", "c"])


def values_of(noun: type[Noun], name: str) -> st.SearchStrategy[Any]:  # noqa: PLR0911 (a table)
    """Values of one field that make rows meet."""
    sample = getattr(next(row for row in EVERYTHING if type(row) is noun), name)
    hint = get_type_hints(noun)[name]
    if name == "id" or name.endswith("_id"):
        return IDS
    if name in {"slug", "name"}:
        return NAMES
    if name == "token_hash":
        return st.sampled_from([bytes([number]) * 32 for number in range(3)])
    if hint is bool:
        return st.booleans()
    if name == "delivery_mode":
        return st.sampled_from(list(nouns.DeliveryMode))
    if name == "conditions":
        return st.none() | st.builds(nouns.Conditions, st.dictionaries(NAMES, st.booleans() | IDS, max_size=2))
    if name == "priority":
        return st.integers(0, 2)
    return st.just(sample)


ROWS = {noun: st.builds(noun, **{field.name: values_of(noun, field.name) for field in fields(noun)}) for noun in NOUNS}
TABLES = st.fixed_dictionaries({noun: st.dictionaries(IDS, rows, max_size=4) for noun, rows in ROWS.items()})
CHANGES = st.fixed_dictionaries(
    {}, optional={noun: st.dictionaries(IDS, st.none() | rows, max_size=4) for noun, rows in ROWS.items()}
)


def with_own_ids(tables: dict[type[Noun], dict[int, Any]]) -> dict[type[Noun], dict[int, Any]]:
    """Each row under the id that it carries."""
    return {
        noun: {number: row and replace(row, id=number) for number, row in rows.items()} for noun, rows in tables.items()
    }


@given(tables=TABLES, rounds=st.lists(CHANGES, max_size=4))
def test_apply_equals_build(tables: Any, rounds: Any) -> None:
    held = with_own_ids(tables)
    snapshot = Snapshot.build(row for rows in held.values() for row in rows.values())
    for number, unnumbered in enumerate(rounds, start=2):
        changes = with_own_ids(unnumbered)
        before = Snapshot.build(row for rows in held.values() for row in rows.values())
        following = snapshot.apply(changes)
        assert snapshot == before  # nobody wrote to what requests are reading
        for noun, changed in changes.items():
            held[noun] |= changed
        held = {noun: {n: row for n, row in rows.items() if row is not None} for noun, rows in held.items()}
        assert following == Snapshot.build(row for rows in held.values() for row in rows.values())
        assert following.version == number
        snapshot = following


@given(rows=st.lists(st.one_of(*ROWS.values()), max_size=12))
def test_of_two_rows_with_one_id_the_last_counts(rows: list[Any]) -> None:
    last = {(type(row), row.id): row for row in rows}
    assert Snapshot.build(rows) == Snapshot.build(last.values())


def test_snapshots_that_differ_are_not_equal() -> None:
    assert Snapshot.build(EVERYTHING) == Snapshot.build(reversed(EVERYTHING))
    assert Snapshot.build(EVERYTHING) != Snapshot.build(EVERYTHING[1:])
    assert Snapshot.build(EVERYTHING) != "a snapshot"


def test_finds_every_noun() -> None:
    snapshot = Snapshot.build(EVERYTHING, version=7)
    assert snapshot.version == 7
    assert snapshot.relay_key(RELAY_KEY.token_hash) is RELAY_KEY
    assert snapshot.project(PROJECT.id) is PROJECT
    assert snapshot.project_by_slug("demo") is PROJECT
    assert snapshot.policy(POLICY.id) is POLICY
    assert snapshot.rate_limit(RATE_LIMIT.id) is RATE_LIMIT
    assert snapshot.host(HOST.id) is HOST
    assert snapshot.host_keys(HOST.id) == (HOST_KEY,)
    assert snapshot.model("demo-gpt") is MODEL
    assert list(snapshot.models()) == [MODEL]
    assert snapshot.bindings(MODEL.id) == (BINDING,)
    assert snapshot.endpoint("demo", "v1", "events") == EndpointRoute(PROJECT, LINE, ENDPOINT, (TARGET,), (TARGET,))
    assert snapshot.target(TARGET.id) is TARGET
    assert snapshot.secrets_of(TARGET.id) == (TARGET_SECRET,)
    assert snapshot.counts() == {noun.table: 1 for noun in NOUNS}


def test_an_empty_snapshot_finds_nothing() -> None:
    snapshot = Snapshot.build(())
    assert snapshot.relay_key(RELAY_KEY.token_hash) is None
    assert snapshot.project(PROJECT.id) is None
    assert snapshot.project_by_slug("demo") is None
    assert snapshot.endpoint("demo", "v1", "events") is None
    assert snapshot.host_keys(HOST.id) == ()
    assert snapshot.bindings(MODEL.id) == ()
    assert list(snapshot.models()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replace(PROJECT, is_archived=True), "archived project"),
        (replace(PROJECT, slug="other"), "renamed project"),
        (replace(LINE, is_enabled=False), "disabled line"),
        (replace(LINE, project_id=nouns.ProjectId(2)), "line of another project"),
        (replace(ENDPOINT, is_enabled=False), "disabled endpoint"),
        (replace(ENDPOINT, slug="other"), "renamed endpoint"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_endpoint_is_found_only_when_everything_on_the_way_is_open(change: Noun, reason: str) -> None:
    snapshot = Snapshot.build(EVERYTHING).apply({type(change): {change.id: change}})
    assert snapshot.endpoint("demo", "v1", "events") is None


def test_disabled_targets_host_keys_and_bindings_are_left_out_and_the_rest_is_in_order() -> None:
    snapshot = Snapshot.build(
        [
            *EVERYTHING,
            numbered(TARGET, 3),
            numbered(TARGET, 2, is_enabled=False),
            numbered(TARGET_SECRET, 3),
            numbered(TARGET_SECRET, 2, target_id=nouns.TargetId(2)),
            numbered(HOST_KEY, 3),
            numbered(HOST_KEY, 2, is_enabled=False),
            numbered(BINDING, 4, priority=0),
            numbered(BINDING, 3),
            numbered(BINDING, 2, is_enabled=False),
        ]
    )
    assert [target.id for target in snapshot.targets(ENDPOINT.id)] == [1, 3]
    assert [target.id for target in snapshot.every_target(ENDPOINT.id)] == [1, 2, 3]
    assert [secret.id for secret in snapshot.secrets_of(TARGET.id)] == [3, 1]
    route = snapshot.endpoint("demo", "v1", "events")
    assert route is not None
    assert (route.targets, route.every_target) == (snapshot.targets(ENDPOINT.id), snapshot.every_target(ENDPOINT.id))
    assert [key.id for key in snapshot.host_keys(HOST.id)] == [1, 3]
    assert [binding.id for binding in snapshot.bindings(MODEL.id)] == [4, 1, 3]


def test_a_change_copies_one_bucket_and_shares_the_others() -> None:
    before = Buckets[int, str]().changed(dict.fromkeys(range(10 * BUCKETS), "x"))
    after = before.changed({5: "y"})
    shared = [ours is theirs for ours, theirs in zip(before._buckets, after._buckets, strict=True)]
    assert shared.count(False) == 1
    assert (before.get(5), after.get(5), len(after)) == ("x", "y", 10 * BUCKETS)
