"""The command `relay`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import relay_sdk
from relay_sdk.calls import Body
from relay_sdk.cli import session
from relay_sdk.cli.listening import followed, listen, new_secret
from relay_sdk.cli.store import SignIn, Store
from relay_sdk.errors import RelayError
from relay_sdk.oauth import Application

FAILED, INTERRUPTED = 1, 130
_VARIABLES = (
    "RELAY_URL: the edge. RELAY_KEY: what `send` calls with. RELAY_CONTROL_URL and RELAY_TOKEN: everything else, where"
    " nobody signed in. RELAY_CONFIG: where a sign-in is kept, ~/.config/relay by default."
)


def main(words: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 refused or unreachable, 2 misused."""
    asked = _parser().parse_args(words)
    try:
        asked.run(Store(), asked)
    except (RelayError, ValueError, OSError) as error:
        print(f"relay: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def login(store: Store, asked: argparse.Namespace) -> None:
    """The device flow."""
    application = Application(asked.control, asked.client_id)
    code = application.device_code(session.SCOPE)
    print(f"Open {code.verification_uri_complete}\nand check that it shows {code.user_code}.", flush=True)
    tokens = application.wait_for(code)
    store.write(SignIn(asked.control.rstrip("/"), (asked.url or asked.control).rstrip("/"), asked.client_id, tokens))
    print("Signed in.")


def logout(store: Store, _asked: argparse.Namespace) -> None:
    """Here and at the relay."""
    found = store.read()
    if found is not None:
        Application(found.control_url, found.client_id).revoke(found.tokens.refresh_token)
        store.forget()
    print("Signed out.")


def whoami(store: Store, asked: argparse.Namespace) -> None:
    """What the control plane says of the caller."""
    relay = session.control(store)
    said = relay.get(f"{relay.control_url}/auth/whoami")
    if asked.json:
        print(json.dumps(said, indent=2))
        return
    token = said.get("token") or {}
    who = said.get("username") or f"relay key {said.get('relayKey')} of {said.get('project')}"
    print(f"{who}, by {said['via']}" + (f" {token['name']}" if token else ""))
    for what, values in (("scopes", said.get("scopes") or token.get("scopes")), ("projects", token.get("projects"))):
        if values:
            print(f"{what}: {', '.join(values)}")
    if token.get("expiresAt"):
        print(f"until {token['expiresAt']}")


def keys_list(store: Store, asked: argparse.Namespace) -> None:
    """Relay keys, newest first."""
    relay = session.control(store)
    for key in relay.get(f"{relay.control_url}/api/v1/relay-keys", project=asked.project, limit=200)["results"]:
        end = "revoked" if key["revokedAt"] else f"until {key['endsAt']}" if key["endsAt"] else "no end"
        print(f"{key['id']:>6}  {key['project']}  {key['mode']}  {end}  {key['name']}")


def keys_mint(store: Store, asked: argparse.Namespace) -> None:
    """A new one. Its token is printed once."""
    relay = session.control(store)
    wanted: dict[str, Any] = {"project": asked.project, "name": asked.name, "mode": asked.mode, "scopes": asked.scope}
    print(relay.change("POST", f"{relay.control_url}/api/v1/relay-keys", wanted)["token"])


def keys_revoke(store: Store, asked: argparse.Namespace) -> None:
    """At every edge within about a second."""
    relay = session.control(store)
    relay.change("POST", f"{relay.control_url}/api/v1/relay-keys/{asked.id}/revoke")
    print(f"Key {asked.id} is revoked.")


def send(store: Store, asked: argparse.Namespace) -> None:
    """One call to an endpoint."""
    project, line, endpoint = _place(asked.endpoint)
    relay = session.edge(store, asked.api_key)
    answer = relay.send(project, line, endpoint, _body(asked.body), idempotency_key=asked.idempotency_key)
    print(f"{answer.status} {answer.target or 'queued'} [request {answer.request_id}]", file=sys.stderr)
    sys.stdout.buffer.write(answer.content + b"\n")


def tail(store: Store, asked: argparse.Namespace) -> None:
    """Calls to endpoints, as they come."""
    relay = session.control(store)
    for row in followed(relay, {"project": asked.project, "endpoint": asked.endpoint, "status": asked.status}):
        said = row["error"] or " ".join(f"{count} {state}" for state, count in row["outcomes"].items())
        print(f"{row['receivedAt']}  {row['status']}  {row['id']}  {row['path']}  {said}", flush=True)


def replay(store: Store, asked: argparse.Namespace) -> None:
    """Deliveries of the failure queue, by id, or all of a project."""
    relay = session.control(store)
    chosen: dict[str, Any] = {"ids": asked.ids} if asked.ids else {"filter": {"project": asked.project}}
    wanted = {**chosen, "note": "relay replay", "dryRun": asked.dry_run}
    print(json.dumps(relay.change("POST", f"{relay.control_url}/api/v1/replays", wanted), indent=2))


def listen_here(store: Store, asked: argparse.Namespace) -> None:
    """An endpoint's calls, on this machine."""
    _place(asked.endpoint)
    secret = asked.secret or new_secret()
    print(f"Forwarding {asked.endpoint} to {asked.forward_to}, signed with {secret}", flush=True)
    listen(session.control(store), asked.endpoint, asked.forward_to, secret)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="relay", description="A relay from the command line.", epilog=_VARIABLES)
    parser.add_argument("--version", action="version", version=f"relay-sdk {relay_sdk.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = _command(commands, "login", login, "sign in, in a browser on any machine")
    one.add_argument("--control", required=True, metavar="URL", help="of the control plane")
    one.add_argument("--url", metavar="URL", help="of the edge, where that is another")
    one.add_argument("--client-id", required=True, metavar="app_...", help="of an application with the device grant")
    _command(commands, "logout", logout, "sign out, here and at the relay")
    one = _command(commands, "whoami", whoami, "who is signed in")
    one.add_argument("--json", action="store_true", help="all that is known, permissions too")

    keys = commands.add_parser("keys", help="relay keys").add_subparsers(required=True, metavar="ACTION")
    one = _command(keys, "list", keys_list, "those that you may see")
    one.add_argument("--project", metavar="SLUG", help="of this project alone")
    one = _command(keys, "mint", keys_mint, "a new one, whose token is printed once")
    one.add_argument("name", help="what lists call it")
    one.add_argument("--project", required=True, metavar="SLUG")
    one.add_argument("--mode", choices=("live", "test"), default="test", help="whose money it spends (%(default)s)")
    one.add_argument(
        "--scope", action="append", choices=("inference", "relay", "control"), required=True,
        help="models, endpoints, or the control API; may be given again",
    )  # fmt: skip
    one = _command(keys, "revoke", keys_revoke, "end one")
    one.add_argument("id", type=int, help="as `relay keys list` has it")

    one = _command(commands, "send", send, "call an endpoint")
    one.add_argument("endpoint", metavar="PROJECT/LINE/ENDPOINT")
    one.add_argument("body", nargs="?", default="{}", help="JSON, @file, or - for standard input")
    one.add_argument("--idempotency-key", metavar="TEXT", help="with the same one it is made once")
    one.add_argument("--api-key", help="a relay key (RELAY_KEY)")

    one = _command(commands, "tail", tail, "follow the request log")
    one.add_argument("--project", metavar="SLUG", help="its calls alone")
    one.add_argument("--endpoint", metavar="PROJECT/LINE/ENDPOINT", help="its calls alone")
    one.add_argument("--status", help="such as 4xx or 422")

    one = _command(commands, "replay", replay, "send deliveries of the failure queue again")
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", nargs="*", default=[], metavar="DELIVERY", help="ids of the failure queue")
    which.add_argument("--project", metavar="SLUG", help="everything of it")
    one.add_argument("--dry-run", action="store_true", help="say what would be replayed")

    one = _command(commands, "listen", listen_here, "receive an endpoint's calls on this machine")
    one.add_argument("endpoint", metavar="PROJECT/LINE/ENDPOINT")
    one.add_argument("forward_to", metavar="URL", help="such as http://127.0.0.1:3000/webhooks")
    one.add_argument("--secret", help="whsec_... to sign with; a new one each time otherwise")
    return parser


def _command(commands: Any, name: str, run: Any, about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=run.__doc__)
    parser.set_defaults(run=run)
    return parser


def _place(text: str) -> tuple[str, str, str]:
    parts = text.split("/")
    if len(parts) != 3:
        raise ValueError(f"{text!r} is no PROJECT/LINE/ENDPOINT.")
    return parts[0], parts[1], parts[2]


def _body(text: str) -> Body:
    """Raises ValueError for what is no JSON, OSError for a file that is not there."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        text = Path(text[1:]).read_text()
    try:
        found: Body = json.loads(text)
    except ValueError as error:
        raise ValueError(f"The body is no JSON: {error}") from None
    return found
