"""The whole relay on one machine: `python -m standalone run`. `make run` calls it after setting up `.venv`.

`demo-vendor` and `demo-sink` are the demo's two helpers, which `run` starts.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from relay_contract.env import ConfigurationError
from standalone import ports, postgres, product, supervisor, valkey
from standalone.embedded import LOOPBACK, StandaloneError
from standalone.home import AlreadyRunningError, Home, read_private, write_draft, write_private
from standalone.product import Options
from standalone.supervisor import Output, Supervisor

READY_SECONDS = 90.0
MAX_CRASHES_BEFORE_READY = 3
PROBE_SECONDS = 2.0


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """The exit code: 0 stopped as asked, 1 could not start (said on standard error)."""
    parser = argparse.ArgumentParser(prog="python -m standalone", description="The whole relay on one machine.")
    parser.add_argument("command", choices=["run", "manage", "demo-vendor", "demo-sink"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="for manage: what manage.py is called with")
    parsed = parser.parse_args(arguments)
    os.umask(0o077)  # RELAY_HOME may have to let others pass through (see home.py); they may read nothing in it
    try:
        match parsed.command:
            case "run":
                return run(product.read_options(environ), coloured=sys.stdout.isatty() and not environ.get("NO_COLOR"))
            case "manage":
                return manage(product.read_options(environ), parsed.rest)
            case command:
                serve_demo(command, environ)
    except (StandaloneError, ConfigurationError) as error:
        print(f"\nRelay cannot start.\n{error}\n", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, no more processes: the machine's, and said by its name
        print(f"\nRelay cannot go on: {error}\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was started
        return 130
    return 0


def run(options: Options, *, coloured: bool) -> int:
    """Start everything, say what to do next, and stay until a signal. Raises StandaloneError when it cannot start."""
    started_at = time.monotonic()
    output = Output(sys.stdout, coloured=coloured)
    home = Home(options.home)
    try:
        secrets = home.secrets()
        ports.require_free(options.ports)
        home.forget_credentials()
        watcher = Supervisor(output, product.STOP_ORDER_PREFIXES)
        watcher.handle_signals()
        try:
            own = _start_servers(watcher, options, home, output)
            write_private(home.variables_file, own | product.demo_variables(secrets))
            base = product.environment(options, own)
            for program in product.demo_programs(base, options, secrets):
                watcher.start(program)
            _prepare(options, home, base, output)
            for program in product.programs(base, options):
                if not watcher.is_stopping:
                    watcher.start(program)
            if _wait_until_ready(watcher, options):
                home.write_credentials(product.credentials(options, secrets))
                output.line("relay", f"ready after {time.monotonic() - started_at:.1f} s")
                print(product.next_steps(options, home.credentials_file), flush=True)
                watcher.watch()
        finally:
            home.variables_file.unlink(missing_ok=True)
            watcher.stop()
    finally:
        home.close()
    output.line("relay", "stopped")
    return 0


def manage(options: Options, arguments: list[str]) -> int:
    """`manage.py` with RELAY_HOME's variables: against the relay that runs on it, else with servers of its own.

    The exit code is manage.py's.
    """
    try:
        home = Home(options.home)
    except AlreadyRunningError:
        own = read_private(options.home.resolve() / "variables.json")
        return _manage_py(product.environment(options, own), arguments)
    watcher = Supervisor(Output(sys.stderr))
    try:
        own = _start_servers(watcher, options, home, Output(sys.stderr)) | product.demo_variables(home.secrets())
        return _manage_py(product.environment(options, own), arguments)
    finally:
        watcher.stop()
        home.close()


def _manage_py(environment: Mapping[str, str], arguments: list[str]) -> int:
    # Ctrl-C is for the command, e.g. the shell. A handler, not SIG_IGN: that one the command would inherit.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    command = [sys.executable, str(product.CHECKOUT / "manage.py"), *arguments]
    return subprocess.run(command, check=False, env=dict(environment)).returncode  # noqa: S603 - the operator's own words


def _start_servers(watcher: Supervisor, options: Options, home: Home, output: Output) -> dict[str, str]:
    """Start the servers whose URL is not given; the variables that the product's processes share."""
    database_url, redis_url = options.database_url, options.redis_url
    if database_url is None:
        database = postgres.start(home.path, options.postgres_port)
        watcher.adopt(database)
        database_url = database.url
        output.line("relay", f"embedded Postgres on port {database.port}, data in {home.path}")
    if redis_url is None:
        cache = valkey.start(home.path, options.valkey_port)
        watcher.adopt(cache)
        redis_url = cache.url
        output.line("relay", f"embedded Valkey on port {cache.port}")
    return product.variables(options, home.secrets(), database_url, redis_url)


def _prepare(options: Options, home: Home, base: Mapping[str, str], output: Output) -> None:
    """Migrations, roles, the first admin; the demo catalog at the first start only, so that later changes stay."""
    catalog, draft = product.demo_catalog(options), None
    if not home.demo_catalog_file.exists():
        draft = write_draft(home.demo_catalog_file, catalog)
    elif home.demo_catalog_file.read_text(encoding="utf-8") != catalog:
        output.line(
            "relay", "the demo catalog or its ports changed since it was loaded; the database keeps the old one"
        )
    environment = product.prepare_environment(base, home.secrets())
    code = supervisor.run_to_end(product.prepare_command(draft), environment, product.CHECKOUT, output, "prepare")
    if code != 0:
        raise StandaloneError(f"Preparing the database failed (exit code {code}); the lines above say why.")
    if draft:
        draft.replace(home.demo_catalog_file)


def _wait_until_ready(watcher: Supervisor, options: Options) -> bool:
    """True once edge and control answer 200; False when a signal came first. Raises StandaloneError after 90 s."""
    waiting = {"edge": f"{options.edge_url}/readyz", "control": f"{options.control_url}/healthz"}
    answers: dict[str, str] = {}
    deadline = time.monotonic() + READY_SECONDS

    def all_ready() -> bool:
        for name, url in list(waiting.items()):
            answers[name] = _probe(url)
            if answers[name].startswith("200"):
                del waiting[name]
        crashing = [name for name, crashes in watcher.crashes.items() if crashes >= MAX_CRASHES_BEFORE_READY]
        if crashing:
            raise StandaloneError(f"{', '.join(crashing)} keeps ending at start; the lines above say why.")
        if waiting and time.monotonic() > deadline:
            missing = "; ".join(f"{url}: {answers[name]}" for name, url in waiting.items())
            raise StandaloneError(f"Not ready after {READY_SECONDS:g} s. {missing}")
        return not waiting

    watcher.watch(until=all_ready)
    return not waiting


def _probe(url: str) -> str:
    """Status and the start of the answer, or why there is none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or LOOPBACK, parts.port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return f"{response.status} {response.read(500).decode(errors='replace').strip()}"
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def serve_demo(command: str, environ: Mapping[str, str]) -> None:
    """Run one of the demo's helpers until SIGTERM. Raises StandaloneError when its variable is missing."""
    # Here, not above: the supervisor itself needs no aiohttp.
    from aiohttp import web  # noqa: PLC0415

    from standalone import demo_sink, demo_vendor  # noqa: PLC0415

    options = product.read_options(environ)
    if command == "demo-vendor":
        api_key = environ.get("DEMO_VENDOR_API_KEY", "")
        if not api_key:
            raise StandaloneError("Set DEMO_VENDOR_API_KEY to the key that the demo vendor shall take.")
        app, port = demo_vendor.application(api_key), options.vendor_port
    else:
        app, port = demo_sink.application(environ.get("DEMO_SINK_SECRET") or None), options.sink_port
    web.run_app(app, host=LOOPBACK, port=port, print=None, access_log=None, shutdown_timeout=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
