"""What the documentation gives to type, run as it stands there against the real processes, the SDKs' own pages too.
`documentation.py` has the rules of what runs.

What stands for a reader's own machine is put in: the ports of `make run`, `.relay` (its home), `make manage`, and 8095
to 8097 for programs that a reader starts. `RELAY_KEY` and `ADMIN_TOKEN` are set as `.relay/credentials.json` says;
`manage.py` has the settings of the product, as in a container of it. `python` has the packages of product and tests and
`relay_sdk`, `relay` is its command; programs that import `@relay-sdk/...` find the packages of `sdk/typescript`, built.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import redis

from relay_contract.redis import keys
from tests.clients.environments import NODE_HOME, installed_node, node_clients
from tests.system import documentation
from tests.system.documentation import Command, DocumentationError
from tests.system.product import ROOT, Product, free_ports, wait_for

SDKS = ROOT / "sdk"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))),
        *sorted([*SDKS.glob("*/README.md"), *SDKS.glob("*/*/README.md")]),
    )
}
RUNNING = sorted(
    (name for name, page in PAGES.items() if documentation.commands(page)),
    key=lambda name: documentation.runs_alone(PAGES[name]),
)
AT_ONCE = 4
NOT_RUN = 30
"""So many blocks of commands say that they cannot run here. Make it smaller; never larger without need."""

MAKE = """#!/bin/sh
# `make manage ARGS="..."` of the checkout, without a look at its environment.
[ "$1" != -s ] || shift
[ "$1" = manage ] || { echo "no $1 here" >&2; exit 2; }
eval "set -- ${2#ARGS=}"
exec python -m standalone manage "$@"
"""
RELAY = """#!/bin/sh
exec python -m relay_sdk "$@"
"""


def test_every_block_says_what_it_is() -> None:
    nameless = [f"{name}:{one.line}" for name, page in PAGES.items() for one in documentation.blocks(page)
                if not one.language]  # fmt: skip
    assert nameless == []


def test_fences_are_all_seen() -> None:
    """What the pattern does not see would not run."""
    for name, page in PAGES.items():
        assert len(re.findall(r"^ *```", page, re.MULTILINE)) == 2 * len(documentation.blocks(page)), name
        marked = sum(bool(one.reason or one.file) for one in documentation.blocks(page))
        assert len(re.findall(r"^ *<!-- (?:not run|file): ", page, re.MULTILINE)) == marked, name


def test_few_blocks_cannot_run() -> None:
    excused = [f"{name}:{one.line}: {one.reason}" for name, page in PAGES.items() for one in documentation.blocks(page)
               if one.is_command and one.reason]  # fmt: skip
    assert len(excused) <= NOT_RUN, "\n".join(excused)


def in_page(block: str) -> str:
    return f"# A page\n\nWords.\n\n{block}\n"


@pytest.mark.parametrize(
    "block",
    [
        "```console\n$ A=1\n$ echo one $A\none 1\n$ for i in 1 2; do\n>   echo $i\n> done\n1\n...\n```",
        "```sh\nfor i in 1 2; do\n  echo $i\ndone\n```",
        "```python\nprint(1)\n```",
        "<!-- file: a.txt -->\n```text\nhello\n```\n\n```console\n$ cat a.txt\nhello\n```",
        "<!-- not run: it fails -->\n```sh\nfalse\n```",
        '```console\n$ echo \'{"error": "gone"}\'\n{"error": "gone"}\n```',
        "1. A list:\n\n   ```console\n   $ echo 1\n   1\n   ```",
    ],
)
def test_a_page_that_is_right(tmp_path: Path, block: str) -> None:
    write(documentation.files(in_page(block)), tmp_path)
    documentation.run(in_page(block), tmp_path, os.environ)


@pytest.mark.parametrize(
    ("block", "line"),
    [
        ("```console\n$ A=1\n$ echo $A\n2\n```", 7),
        ("```console\n$ true\n$ false\n$ true\n```", 7),
        ("```console\n$ echo $NEVER_SET\n```", 6),
        ("```sh\nfalse\ntrue\n```", 5),
        ("```sh\nfalse | true\n```", 5),
        ("```python\nraise SystemExit(1)\n```", 5),
    ],
)
def test_a_page_that_is_wrong(tmp_path: Path, block: str, line: int) -> None:
    write(documentation.files(in_page(block)), tmp_path)
    with pytest.raises(DocumentationError, match=f"line {line}:"):
        documentation.run(in_page(block), tmp_path, os.environ)


@pytest.mark.parametrize("answer", ['{"error": "gone"}', '{"error":{"message":"...","code":"gone"}}'])
def test_an_error_that_the_page_does_not_speak_of(answer: str) -> None:
    assert documentation.difference(Command(1, "curl"), answer, "It is well.") != ""
    assert documentation.difference(Command(1, "curl"), answer, "410 `gone`") == ""


def write(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def with_ports(text: str, ports: dict[str, str]) -> str:
    """Each whole number that is a port, replaced."""
    return re.sub(rf"\b(?:{'|'.join(ports)})\b", lambda found: ports[found[0]], text)


def ports_of(product: Product) -> dict[str, str]:
    """Real ports by those that the pages name."""
    own = ("RELAY_PORT", "RELAY_CONTROL_PORT", "RELAY_DEMO_VENDOR_PORT", "RELAY_DEMO_SINK_PORT")
    real = [product.environment[name] for name in own] + [str(port) for port in free_ports(3)]
    return dict(zip(("8080", "8081", "8090", "8091", "8095", "8096", "8097"), real, strict=True))


def prepared(folder: Path, product: Product, modules: Path | None) -> dict[str, str]:
    """The folder as a reader's checkout, as far as pages look into it; the environment of a session."""
    tools = folder / "tools"
    tools.mkdir()
    for name, program in (("make", MAKE), ("relay", RELAY)):
        (tools / name).write_text(program)
        (tools / name).chmod(0o755)
    work = folder / "work"
    work.mkdir()
    for name, target in ((".relay", product.home), ("README.md", ROOT / "README.md"), ("manage.py", ROOT / "manage.py"),
                         ("deploy", ROOT / "deploy"), ("standalone", ROOT / "standalone"), ("sdk", SDKS)):  # fmt: skip
        (work / name).symlink_to(target)
    if modules is not None:
        (work / "node_modules").symlink_to(modules)
    return {
        **product.environment,
        **json.loads((product.home / "variables.json").read_text()),
        "RELAY_KEY": product.relay_key,
        "ADMIN_TOKEN": product.credentials["admin_token"],
        "PATH": os.pathsep.join((str(tools), str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(SDKS / "python" / "src"))),
    }


def modules_for(page: str) -> Path | None:
    """What its JavaScript imports from; None where it has none."""
    if not any(one.text.startswith("node ") for one in documentation.commands(page)):
        return None
    if "@relay-sdk/" not in page:
        node_clients()
        return NODE_HOME / "node_modules"
    workspace = SDKS / "typescript"
    node = installed_node(workspace)
    command = [str(node.parent / "npm"), "--silent", "run", "build"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace / "node_modules"


def run(name: str, product: Product, folder: Path) -> None:
    """A page, from its first command to its last."""
    page = PAGES[name]
    environment = prepared(folder, product, modules_for(page))
    real = with_ports(page, ports_of(product))
    write(documentation.files(real), folder / "work")
    try:
        documentation.run(real, folder / "work", environment)
    except DocumentationError as problem:
        raise DocumentationError(f"{name}, {problem}") from None


@pytest.fixture(scope="session")
def crowd(
    request: pytest.FixtureRequest, product: Product, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """The runs of all pages that were asked for and need not be alone, some at once: they wait more than they work."""
    wait_for(product.is_money_open, "purses to pay, some seconds after the start")
    with redis.Redis.from_url(product.redis_url) as client:
        wait_for(lambda: client.exists(keys.SCHEDULE), "the schedule's first task, which doctor looks for")
    asked = {item.callspec.params["name"] for item in request.session.items
             if isinstance(item, pytest.Function) and item.originalname == "test_a_page"}  # fmt: skip
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(run, name, product, tmp_path_factory.mktemp("page"))
            for name in RUNNING
            if name in asked and not documentation.runs_alone(PAGES[name])
        }


@pytest.mark.system
@pytest.mark.xdist_group("system")
@pytest.mark.timeout(700)  # the first page with a JavaScript program may install its packages
@pytest.mark.parametrize("name", RUNNING)
def test_a_page(product: Product, tmp_path: Path, crowd: dict[str, Future[None]], name: str) -> None:
    if documentation.runs_alone(PAGES[name]):
        wait(crowd.values())
        run(name, product, tmp_path)
    else:
        crowd[name].result()
