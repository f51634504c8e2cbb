"""What pages of the documentation give to try, run as it stands there against the real processes.

Of `docs/surfaces.md` each line, with what its answer says. Of each page of `PAGES` all blocks as a shell's session:

- a block marked `console` has commands behind `$ ` (and `> `), and below each what it prints, where `...` is anything;
- one without a mark is a list of commands. They succeed, and no error is answered that the page does not speak of.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.system.product import ROOT, Product, wait_for

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

PAGE = (ROOT / "docs" / "surfaces.md").read_text(encoding="utf-8")
[EXAMPLES] = re.findall(r"```\n(A=.*?)```", PAGE, re.DOTALL)
SETTING, *CALLS = EXAMPLES.splitlines()
SAYS = {
    "chat/completions": '"chat.completion"',
    "responses": '"response"',
    "v1/messages": '"message"',
    "count_tokens": '"input_tokens"',
    "embeddings": '"embedding"',
    "images": '"b64_json"',
    "speech": "ID3 hi",
    "transcriptions": "bytes of README.md",
    "moderations": '"flagged"',
    "rerank": '"relevance_score"',
    "v1/models ": '"demo-responses"',
    "models/demo-claude": '"demo-claude"',
    "passthrough": '"demo-embedding-1"',
}


@pytest.mark.parametrize("call", CALLS)
def test_a_documented_call(product: Product, call: str) -> None:
    setting = SETTING.replace("http://127.0.0.1:8080", product.edge_url)
    script = f"RELAY_KEY={shlex.quote(product.relay_key)}; {setting}; {call.replace('curl', 'curl -sf', 1)}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, timeout=30, check=True)
    answer = done.stdout.decode()
    [said] = [words for name, words in SAYS.items() if name in call and not (name == "v1/messages" and "count" in call)]
    assert said in answer
    if "-i " in call:
        assert "x-relay-estimate: true" in answer
    elif answer.startswith("{"):
        assert json.loads(answer)


PAGES = ("fan-out", "sync", "streaming", "mirror", "origin-shield", "drafts-and-revisions", "dry-run", "prepaid")
"""Those of them that there are."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"(curl|export|sleep|[A-Z_]+=)[ \S]")
_MARK = "--- the next command ---"


@dataclass
class Command:
    """A command of a page, and what it prints; nothing is asked where nothing is written."""

    text: str
    prints: list[str] = field(default_factory=list)


def commands(page: str) -> list[Command]:
    """Those of all blocks, in their order."""
    found: list[Command] = []
    for mark, block in _BLOCK.findall(page):
        lines = block.splitlines()
        if mark == "console":
            found += _session(lines)
        elif not mark and lines and _COMMAND.match(lines[0]):
            found += [Command(line) for line in re.sub(r"\\\n", " ", block).splitlines() if line]
    return found


def _session(lines: list[str]) -> Iterator[Command]:
    command: Command | None = None
    for line in lines:
        if line.startswith("$ "):
            if command:
                yield command
            command = Command(line[2:])
        elif command and line.startswith("> "):
            command.text += f"\n{line[2:]}"
        elif command:
            command.prints.append(line)
    if command:
        yield command


def _pages() -> dict[str, str]:
    files = {name: ROOT / "docs" / f"{name}.md" for name in PAGES}
    return {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.exists()}


@pytest.mark.parametrize("name", [name for name, page in _pages().items() if commands(page)])
def test_a_documented_session(product: Product, name: str) -> None:
    page = _pages()[name]
    session = commands(page)
    wait_for(product.is_money_open, "purses to pay, some seconds after the start")
    script = "".join(f"{one.text}\n[ $? = 0 ] || echo '(failed)'\necho '{_MARK}'\n" for one in session)
    for documented, real in (
        ("http://127.0.0.1:8080", product.edge_url),
        ("http://127.0.0.1:8081", product.control_url),
        ("http://127.0.0.1:8091", product.sink_url),
        (".relay/credentials.json", str(product.home / "credentials.json")),
    ):
        script = script.replace(documented, real)
    environment = product.environment | {"RELAY_KEY": product.relay_key}
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
        check=True,
    )  # fmt: skip
    printed = done.stdout.decode(errors="replace").split(f"{_MARK}\n")
    assert len(printed) == len(session) + 1
    for command, said in zip(session, printed, strict=False):
        assert "(failed)" not in said, (command.text, said, done.stderr.decode())
        for code in re.findall(r'"error":"(\w+)"', said):
            assert code in page, (command.text, said)
        if command.prints:
            wanted = re.escape("\n".join(command.prints)).replace(re.escape("..."), ".*?")
            assert re.fullmatch(wanted, said.strip(), re.DOTALL), (command.text, said, command.prints)
