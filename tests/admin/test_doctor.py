"""A deployment that is broken in one way is told exactly that, and what clears it."""

import base64
import io
import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
import redis
from django.core.management import call_command
from django.db import connection

from relay_admin.catalog import services
from relay_admin.catalog.models import HostKey
from relay_admin.doctor import (
    clocks,
    disk,
    edge_role,
    edges,
    egress,
    examination,
    postgres,
    processes,
    secrets,
    triggers,
    valkey,
    web,
)
from relay_admin.doctor.finding import Finding, State
from relay_admin.own_connection import own_connection
from relay_contract.redis import keys
from standalone import valkey as embedded_valkey
from tests.admin import rows


def broken(findings: Iterable[Finding]) -> dict[str, str]:
    """What is broken, by check."""
    return {finding.check: finding.found for finding in findings if finding.state is State.BROKEN}


@pytest.fixture
def database(db: None) -> Iterator[psycopg.Connection[Any]]:
    """The migrated test database; what a test breaks in it is rolled back."""
    with own_connection(3) as own:
        own.autocommit = False
        yield own
        own.rollback()


@pytest.fixture
def edge_url(_edge_role: None) -> str:
    """The edge's own role in that database."""
    return os.environ["RELAY_EDGE_DATABASE_URL"].rsplit("/", 1)[0] + "/" + connection.settings_dict["NAME"]


# --- Postgres ---


def test_the_names_of_triggers_are_those_that_migrations_make(database: psycopg.Connection[Any]) -> None:
    made = database.execute(
        "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0"
    ).fetchall()
    assert sorted(made) == sorted(set().union(*triggers.TRIGGERS.values()))
    assert broken(triggers.examine(database)) == {}


@pytest.mark.parametrize(
    ("statement", "check", "found"),
    [
        (
            "DROP TRIGGER relay_catalog_changed_row ON catalog_policy",
            "triggers.catalog",
            "missing: relay_catalog_changed_row on catalog_policy",
        ),
        ("DROP TRIGGER access_audit ON access_user", "triggers.audit", "missing: access_audit on access_user"),
        (
            "ALTER TABLE ledger_entry DISABLE TRIGGER ledger_append_only",
            "triggers.append_only",
            "disabled: ledger_append_only on ledger_entry",
        ),
        (
            "ALTER TABLE traffic_call DISABLE TRIGGER ALL",
            "triggers.balances",
            "disabled: ledger_calls_due on traffic_call",
        ),
        (
            "ALTER TABLE access_user DISABLE TRIGGER access_user_end_sessions",
            "triggers.people",
            "disabled: access_user_end_sessions on access_user",
        ),
    ],
)
def test_a_missing_or_disabled_trigger(
    statement: str, check: str, found: str, database: psycopg.Connection[Any]
) -> None:
    database.execute(statement)  # type: ignore[arg-type]  # a constant
    assert broken(triggers.examine(database)) == {check: found}


def test_the_edges_role_is_as_it_should_be(database: psycopg.Connection[Any], edge_url: str) -> None:
    found = list(edge_role.examine(database, edge_url))
    # The tests' own Postgres does without fsync, and the role is told so.
    assert [(each.check, each.state) for each in found] == [
        ("edge_role.sign_in", State.BROKEN),
        ("edge_role.attributes", State.OK),
        ("edge_role.grants", State.OK),
    ]
    assert found[0].found == "fsync and full_page_writes and synchronous_commit off"


@pytest.mark.parametrize(
    ("statement", "check", "found"),
    [
        ("GRANT SELECT ON ledger_entry TO relay_edge", "edge_role.grants", "relay_edge may also SELECT ledger_entry"),
        (
            "GRANT SELECT (password) ON access_user TO PUBLIC",
            "edge_role.grants",
            "relay_edge may also SELECT access_user",
        ),
        ("GRANT DELETE ON traffic_call TO relay_edge", "edge_role.grants", "relay_edge may also DELETE traffic_call"),
        ("REVOKE SELECT ON catalog_host FROM relay_edge", "edge_role.grants", "relay_edge may not SELECT catalog_host"),
        (
            "REVOKE INSERT (payer_id) ON traffic_call FROM relay_edge",
            "edge_role.grants",
            "relay_edge may not INSERT traffic_call",
        ),
        ("ALTER ROLE relay_edge CREATEDB", "edge_role.attributes", "relay_edge may make databases"),
    ],
)
def test_a_grant_too_few_or_too_many(
    statement: str, check: str, found: str, database: psycopg.Connection[Any], edge_url: str
) -> None:
    database.execute(statement)  # type: ignore[arg-type]  # a constant
    told = broken(edge_role.examine(database, edge_url))
    del told["edge_role.sign_in"]  # without fsync, as above
    assert told == {check: found}


def test_an_edge_that_cannot_sign_in(database: psycopg.Connection[Any], edge_url: str) -> None:
    wrong = edge_url.replace("relay_edge:", "relay_edge:not-")
    assert broken(edge_role.examine(database, wrong)) == {
        "edge_role.sign_in": "relay_edge cannot sign in (OperationalError)"
    }
    elsewhere = edge_url.rsplit("/", 1)[0] + "/postgres"
    assert "names the database postgres" in broken(edge_role.examine(database, elsewhere))["edge_role.sign_in"]
    assert broken(edge_role.examine(database, edge_url.replace("relay_edge:", "nobody:"))) == {
        "edge_role.sign_in": "there is no role nobody"
    }


def test_postgres_as_the_tests_run_it(database: psycopg.Connection[Any]) -> None:
    # Partitions for today and tomorrow alone, no fsync: see tests/conftest.py and standalone/postgres.py.
    assert list(broken(postgres.of_server(database))) == ["postgres.durability"]
    assert list(broken(postgres.of_content(database))) == ["postgres.partitions"]
    database.execute("DELETE FROM django_migrations WHERE app = 'ledger' AND name = '0009_keeping'")
    assert broken(postgres.of_content(database))["postgres.migrations"] == "missing: ledger.0009_keeping"


def test_a_table_that_somebody_else_owns(database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE ROLE stranger")
    database.execute("ALTER TABLE catalog_host OWNER TO stranger")
    database.execute("CREATE ROLE owner")
    database.execute("GRANT relay TO owner")
    database.execute("SET ROLE owner")  # the tests' own is a superuser, who may do what every role may
    assert broken(postgres.of_content(database))["postgres.owner"] == "relay does not own catalog_host"


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (postgres.version(180_004), State.OK),
        (postgres.version(130_022), State.BROKEN),
        (postgres.durability("x", dict.fromkeys(postgres.DURABILITY, "on")), State.OK),
        (postgres.durability("x", dict.fromkeys(postgres.DURABILITY, "on") | {"fsync": "off"}), State.BROKEN),
        (postgres.connections(79, 100), State.OK),
        (postgres.connections(80, 100), State.WARNING),
        (postgres.partitions([]), State.OK),
        (processes.workers(0), State.BROKEN),
        (processes.backlog(61), State.WARNING),
        (processes.backlog(-5), State.OK),
    ],
)
def test_verdicts(finding: Finding, state: State) -> None:
    assert finding.state is state
    assert bool(finding.action) is (state is not State.OK)


def test_a_keeper_that_is_silent() -> None:
    now = datetime.now(UTC)
    assert processes.keeper(None, now, None).found == "the keeper of purses has never spoken"
    assert processes.keeper(now - timedelta(seconds=31), now, None).state is State.BROKEN
    assert processes.keeper(now - timedelta(seconds=29), now, None).state is State.OK
    assert processes.keeper(now, now, now - timedelta(seconds=9)).state is State.WARNING


# --- Redis ---


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A server that a test may configure wrongly."""
    server = embedded_valkey.start(tmp_path_factory.mktemp("doctor"), fast=True)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("appendonly", "yes")
        yield client
    server.stop()


def test_valkey_as_it_should_be_and_as_it_should_not(own_valkey: redis.Redis) -> None:
    assert {finding.state for finding in valkey.examine(own_valkey)} == {State.OK}
    own_valkey.config_set("maxmemory-policy", "allkeys-lru")
    assert broken(valkey.examine(own_valkey)) == {"redis.eviction": "maxmemory-policy is allkeys-lru"}
    own_valkey.config_set("maxmemory-policy", "noeviction")
    own_valkey.config_set("maxmemory", 2**20)
    assert [each.check for each in valkey.examine(own_valkey) if each.state is not State.OK] == ["redis.memory"]
    own_valkey.config_set("maxmemory", 0)
    own_valkey.config_set("appendonly", "no")
    assert [each.check for each in valkey.examine(own_valkey) if each.state is not State.OK] == ["redis.persistence"]
    own_valkey.config_set("appendonly", "yes")


def test_a_user_who_may_load_no_script(own_valkey: redis.Redis) -> None:
    own_valkey.acl_setuser("poor", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-script"], reset=True)
    where = own_valkey.connection_pool.connection_kwargs
    with redis.Redis(host=where["host"], port=where["port"], username="poor") as poor:
        told = broken(valkey.examine(poor))
    assert list(told) == ["redis.scripts"]
    assert "admit: " in told["redis.scripts"]


def test_the_schedule_is_heard(own_valkey: redis.Redis) -> None:
    assert processes.schedule(own_valkey).state is State.BROKEN
    own_valkey.set(keys.SCHEDULE, 1)
    assert processes.schedule(own_valkey).state is State.OK


def test_an_old_server_and_a_replica() -> None:
    assert valkey.version("6.2.14", is_valkey=False).state is State.BROKEN
    assert valkey.version("7.0.0", is_valkey=False).state is State.OK
    assert valkey.role("slave").state is State.BROKEN


# --- clocks, disk, secrets ---


def test_clocks_that_agree(database: psycopg.Connection[Any], own_valkey: redis.Redis) -> None:
    theirs = {"postgres": clocks.postgres_clock(database), "redis": clocks.redis_clock(own_valkey)}
    found = {each.check: each.state for each in clocks.examine(theirs)}
    assert found == {"clock.postgres": State.OK, "clock.redis": State.OK}


@pytest.mark.parametrize(
    ("ahead", "unsure", "state"),
    [(0.9, 0.0, State.OK), (-1.0, 0.0, State.WARNING), (3.0, 2.5, State.OK), (-30.0, 0.0, State.BROKEN)],
)
def test_clocks_that_do_not(ahead: float, unsure: float, state: State) -> None:
    assert clocks.agreement("clock.x", ahead, unsure).state is state


def test_the_time_that_an_answer_took_is_no_difference() -> None:
    moments = iter((100.0, 104.0))
    [found] = clocks.examine({"x": lambda: 102.0}, lambda: next(moments))
    assert (found.state, found.found) == (State.OK, "0.000 s behind this machine")


def test_room_on_disk(tmp_path: Path) -> None:
    [found] = disk.examine([tmp_path / "not" / "made" / "spill"], least_bytes=1)
    assert (found.check, found.state) in {("disk.spill", State.OK), ("disk.spill", State.WARNING)}  # as the machine is
    assert list(broken(disk.examine([tmp_path], least_bytes=2**60))) == [f"disk.{tmp_path.name}"]
    file = tmp_path / "file"
    file.touch()
    assert broken(disk.examine([file], least_bytes=1)) == {"disk.file": f"{file} cannot be written to"}
    assert disk.room("disk.x", tmp_path, free_bytes=5, total_bytes=100, least_bytes=1).state is State.WARNING


def test_a_master_key_that_opens_nothing(catalog: rows.Catalog, settings: Any) -> None:
    old = settings.MASTER_KEYS
    call_command("prepare", stdout=io.StringIO())
    try:
        assert broken(secrets.examine()) == {}
        settings.MASTER_KEYS = (b"\x0b" * 32, *old)
        services.sealer.cache_clear()
        assert [each.check for each in secrets.examine() if each.state is State.WARNING] == ["secrets.master_keys"]
        settings.MASTER_KEYS = (b"\x0b" * 32,)
        services.sealer.cache_clear()
        told = broken(secrets.examine())
        assert list(told) == ["secrets.master_keys"]
        assert f"host keys {HostKey.objects.get().pk}: sealed with a master key that is not configured" in next(
            iter(told.values())
        )
        assert base64.b64encode(old[0]).decode() not in str(told)
    finally:
        services.sealer.cache_clear()


# --- edges, control plane ---

READY = {
    "problems": [],
    "catalog": {"connected": True, "version": 3, "age_seconds": 0.4},
    "postgres": {"connected": True},
    "records": {"connected": True, "spilled_bytes": 0, "full": False},
    "redis": {"connected": True},
    "secrets": {"without_value": 0},
    "process": {"index": 0, "pid": 7},
}


class Answering:
    """A server on a real port that answers everything with one document."""

    def __init__(self, document: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(document).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.mark.parametrize(
    ("part", "change", "check", "found"),
    [
        ("problems", ["shutting down"], "edge.reachable", "process 0 (pid 7): shutting down"),
        ("catalog", {"age_seconds": 31.0}, "edge.catalog", "older than 30 s in process 0 (pid 7)"),
        ("redis", {"connected": False}, "edge.connected", "process 0 (pid 7) lacks Redis"),
        ("postgres", {"connected": False}, "edge.connected", "process 0 (pid 7) lacks Postgres (deliveries)"),
        ("secrets", {"without_value": 1}, "edge.connected", "process 0 (pid 7) lacks values of host keys"),
        ("records", {"full": True}, "edge.records", "the spill is full: new calls are refused"),
    ],
)
def test_an_edge_that_says_what_it_lacks(part: str, change: Any, check: str, found: str) -> None:
    said: dict[str, Any] = dict(READY)
    said[part] = said[part] | change if isinstance(change, dict) else change
    with Answering(said) as url:
        assert broken(edges.examine(url, 1, None)) == {check: found}


def test_edges_that_serve_and_ones_that_do_not(free_port: int) -> None:
    with Answering(READY) as url:
        assert {each.state for each in edges.examine(url, 1, None)} == {State.OK}
        assert list(broken(edges.examine(url, 0, None))) == ["edge.reachable"]  # another Redis than ours
        assert processes.control(url).state is State.OK
    with Answering({"hello": "world"}, 502) as url:
        assert "does not answer as an edge (KeyError)" in broken(edges.examine(url, 1, None))["edge.reachable"]
        assert processes.control(url).found == f"{url}/healthz answers 502"
    nobody = f"http://127.0.0.1:{free_port}"
    assert list(broken(edges.examine(nobody, None, None))) == ["edge.reachable"]
    assert processes.control(nobody).state is State.BROKEN


# --- egress, names, mail ---


def test_what_targets_may_call() -> None:
    assert egress.policy(()).state is State.OK
    assert egress.policy((ip_network("10.20.0.0/16"),)).state is State.OK
    assert egress.policy((ip_network("127.0.0.0/8"),)).state is State.WARNING
    assert egress.policy((ip_network("169.254.0.0/16"),)).state is State.BROKEN
    assert egress.policy((ip_network("0.0.0.0/0"),)).state is State.BROKEN


def test_hosts_that_are_found_and_may_be_called(catalog: rows.Catalog) -> None:
    assert list(egress.hosts()) == [catalog.host.slug]

    def look_up(name: str) -> list[str]:
        if name == "gone.test":
            raise OSError
        return {"public.test": ["93.184.215.14"], "inside.test": ["10.0.0.9"]}[name]

    assert egress.names({"a": "public.test"}, (), look_up).state is State.OK
    assert egress.names({"a": "gone.test"}, (), look_up).found == "not found: a (gone.test)"
    assert egress.names({"a": "inside.test", "b": "public.test"}, (), look_up).state is State.BROKEN
    assert egress.names({"a": "inside.test"}, (ip_network("10.0.0.0/8"),), look_up).state is State.OK
    assert egress.resolve("127.0.0.1") == ["127.0.0.1"]


def test_names_and_tls(settings: Any) -> None:
    assert web.names("https://relay.example.com", ["relay.example.com"]).state is State.OK
    assert web.names("https://relay.example.com", [".example.com"]).state is State.OK
    assert web.names("https://relay.example.com", ["127.0.0.1"]).state is State.BROKEN
    assert web.names("https://relay.example.com", ["*"]).state is State.WARNING
    assert web.tls("http://127.0.0.1:1", "http://localhost:2", has_secure_cookies=False).state is State.OK
    assert web.tls("https://a.test", "http://b.test", has_secure_cookies=True).state is State.WARNING


def test_mail(free_port: int) -> None:
    assert web.mail("", "", "off").state is State.OK
    assert web.mail("", "", "invite").state is State.WARNING
    nobody = web.mail(f"smtp://user:canary-password@127.0.0.1:{free_port}", "Relay <relay@example.com>", "open")
    assert nobody.state is State.BROKEN
    assert "canary-password" not in nobody.found + nobody.action


# --- the command ---


def test_everything_away_is_told_in_a_line_each(
    settings: Any, free_port: int, monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    monkeypatch.setitem(connection.settings_dict, "PORT", str(free_port))
    settings.REDIS_URL = f"redis://:canary-password@127.0.0.1:{free_port}/0"
    settings.EDGE_INTERNAL_URL = settings.CONTROL_URL = f"http://127.0.0.1:{free_port}"
    assert list(broken(examination.examine([]))) == [
        "postgres.reachable",
        "redis.reachable",
        "edge.reachable",
        "control.reachable",
    ]
    output = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json", stdout=output)
    assert ended.value.code == 1
    document = json.loads(output.getvalue())
    assert document["counts"]["broken"] == 4
    assert "canary-password" not in output.getvalue()
    lines = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=lines)
    assert lines.getvalue().startswith("broken   postgres.reachable")
