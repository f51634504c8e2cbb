"""Pytest plugin (`-p tests.servers`): embedded Postgres and Valkey for each pytest process, before Django's settings.

Under xdist each worker has its own pair and the controller none. Whatever RELAY_*, DATABASE_URL and REDIS_URL the shell
has is replaced, so that a test run can never reach an operator's data. The servers end with the process, however it
ends.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from standalone import embedded, postgres, valkey

PREFIX = "relay-tests-"
ABANDONED_SECONDS = 3600


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """A wrapper, since pytest-django reads the settings in a `tryfirst` implementation of this hook."""
    for name in [name for name in os.environ if name.startswith("RELAY_") and not name.startswith("RELAY_TEST_")]:
        del os.environ[name]
    if _is_controller(early_config):
        _set_environment("postgresql://relay:none@127.0.0.1:1/postgres", "redis://127.0.0.1:1/0")
    else:
        _remove_abandoned()
        home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        home.chmod(0o711)  # as root, Postgres runs as nobody and must get to its data
        early_config.add_cleanup(lambda: shutil.rmtree(home))
        database = postgres.start(home, fast=True)
        early_config.add_cleanup(database.stop)
        cache = valkey.start(home, fast=True)
        early_config.add_cleanup(cache.stop)
        _set_environment(database.url, cache.url)
    yield


def _is_controller(config: pytest.Config) -> bool:
    """Whether this process only hands tests to xdist workers."""
    options = config.known_args_namespace
    return "PYTEST_XDIST_WORKER" not in os.environ and bool(
        getattr(options, "numprocesses", None) or getattr(options, "tx", None)
    )


def _set_environment(database_url: str, redis_url: str) -> None:
    address = database_url.rsplit("@", 1)[1]
    os.environ |= {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "RELAY_SECRET_KEY": secrets.token_urlsafe(32),
        "RELAY_MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "RELAY_EDGE_DATABASE_URL": f"postgresql://relay_edge:{secrets.token_urlsafe(16)}@{address}",
        "RELAY_CONTROL_URL": "http://127.0.0.1:8081",
        "RELAY_EGRESS_ALLOW": "127.0.0.0/8 ::1/128",
    }


def _remove_abandoned() -> None:
    """Remove the folders of test runs that were killed: older than an hour, and their process is gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = int(folder.name.removeprefix(PREFIX).split("-")[0])
        with suppress(FileNotFoundError):  # the other worker, or another run, removes the same ones
            if folder.stat().st_mtime < time.time() - ABANDONED_SECONDS and embedded.wait_until_gone(pid, seconds=0.01):
                shutil.rmtree(folder, ignore_errors=True)
