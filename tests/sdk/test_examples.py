"""The examples: the receiver as its sender sees it, and that the chat takes from the packages what they export.

Their pages' commands are run by tests/system/test_documentation.py. Next itself is not installed for the tests.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from relay_sdk import sign_webhook

from tests.reference import sdk_typescript
from tests.system.product import ROOT, free_ports

EXAMPLES = ROOT / "sdk" / "examples"
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Send = Callable[..., int]


@contextmanager
def receiving(program: Path) -> Iterator[Send]:
    """The receiver as a program; sends to it, and is answered with its status."""
    [port] = free_ports(1)
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "sdk" / "python" / "src"),
        "RELAY_WEBHOOK_SECRET": f"{SECRET} {OLD}",
        "PORT": str(port),
    }
    running = subprocess.Popen(
        [sys.executable, str(program)], cwd=program.parent, env=environ, stdout=subprocess.PIPE, text=True
    )
    with running, httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        try:
            assert running.stdout
            assert running.stdout.readline().startswith("listening")

            def send(name: str, body: bytes = b'{"id": 1}', secret: str = SECRET, more: Mapping[str, str] = {}) -> int:
                headers = {**sign_webhook(body, webhook_id=name, secret=secret), **more}
                return client.post("/", content=body, headers=headers).status_code

            yield send
        finally:
            running.kill()


@pytest.fixture
def receiver(tmp_path: Path) -> Path:
    """A copy, as a reader has it, that writes down what it handles and fails while there is a file `broken`."""
    source = (EXAMPLES / "python-receiver" / "receiver.py").read_text(encoding="utf-8")
    own = '    open("handled", "a").write(f"{event}\\n")\n    assert not os.path.exists("broken")\n'
    line = '    print("got", json.dumps(event), flush=True)\n'
    assert source.count(line) == 1
    (tmp_path / "receiver.py").write_text(source.replace(line, own), encoding="utf-8")
    return tmp_path / "receiver.py"


def test_the_receiver_does_each_event_once(receiver: Path) -> None:
    with receiving(receiver) as send:
        assert [send("a"), send("a"), send("b", secret=OLD)] == [204, 204, 204]
    with receiving(receiver) as send:
        assert send("a") == 204
    assert (receiver.parent / "handled").read_text().splitlines() == ["{'id': 1}"] * 2


def test_the_receiver_asks_for_what_failed_once_more(receiver: Path) -> None:
    broken = receiver.parent / "broken"
    with receiving(receiver) as send:
        broken.touch()
        assert send("a") == 500
        broken.unlink()
        assert [send("a"), send("a")] == [204, 204]
    assert len((receiver.parent / "handled").read_text().splitlines()) == 2


def test_the_receiver_does_nothing_for_strangers(receiver: Path) -> None:
    stranger = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    with receiving(receiver) as send:
        assert send("a", secret=stranger) == 401
        assert send("a", more={"webhook-id": "b"}) == 401
        assert send("a", more={"webhook-timestamp": "1"}) == 401
        assert send("a", b"no json") == 400
    assert not (receiver.parent / "handled").exists()


def test_the_chat_imports_what_is_exported() -> None:
    known: dict[str, set[str]] = {}
    for one in sdk_typescript.exports():
        known.setdefault(one.entry, set()).add(one.name)
    chat = EXAMPLES / "next-chat"
    wanted = set(json.loads((chat / "package.json").read_text())["dependencies"])
    imported: set[str] = set()
    for path in [*chat.glob("*.ts"), *chat.glob("app/**/*.ts*")]:
        for names, source in re.findall(r'^import (?:type )?(.*?) ?from "([^"]+)";', path.read_text(), re.MULTILINE):
            package = re.sub(r"^((?:@[^/]+/)?[^/]+).*", r"\1", source)
            if source.startswith("."):
                assert any((path.parent / f"{source}{end}").exists() for end in (".ts", ".tsx")), (path, source)
                continue
            imported.add(package)
            if source in known:
                assert {name.removeprefix("type ") for name in re.findall(r"(?:type )?\w+", names)} <= known[source], (
                    path
                )
    assert {"@relay-sdk/core", "@relay-sdk/next"} <= imported <= wanted
    variables = set(re.findall(r'setting\("(\w+)"\)', (chat / "relay.ts").read_text()))
    assert variables == set(re.findall(r"^(\w+)=", (chat / ".env.example").read_text(), re.MULTILINE))


def test_a_wheel_has_the_package_and_its_types() -> None:
    """What hatchling packs: the folder of the project's name below src, which is typed, and nothing beside it."""
    home = ROOT / "sdk" / "python"
    project = tomllib.loads((home / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["src/relay_sdk"]}
    assert (home / "src" / "relay_sdk" / "py.typed").read_text() == ""
    assert [each.name for each in (home / "src").iterdir() if each.name != "__pycache__"] == ["relay_sdk"]
