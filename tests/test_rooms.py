"""The rules of the house that a program can check. Each rule is a function of a file's text, tried on a good and a bad
example before it is tried on the tree, so that a rule which finds nothing is known to be able to find something.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("relay_contract", "relay_admin", "relay_edge", "delivery", "standalone")


def sources(*packages: str) -> Iterator[Path]:
    """The Python files of these packages."""
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def imported(source: str) -> set[str]:
    """Every module a file imports, wherever in the file, as dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


FORBIDDEN_IMPORTS = {
    "relay_contract": {"django", "rest_framework", "aiohttp", "celery", "kombu", "redis", "psycopg", "relay_admin",
                       "relay_edge", "delivery", "standalone", "environ"},
    "relay_edge": {"django", "rest_framework", "celery", "kombu", "relay_admin", "delivery", "standalone", "environ"},
    "relay_admin": {"relay_edge", "delivery", "standalone", "aiohttp", "celery", "kombu"},
    "delivery": {"relay_edge", "standalone", "environ"},
    "standalone": {"relay_admin", "relay_edge", "delivery", "django"},
}  # fmt: skip


def foreign_imports(package: str, source: str) -> list[str]:
    """Modules that the package may not import."""
    return sorted(name for name in imported(source) if name.split(".")[0] in FORBIDDEN_IMPORTS[package])


def third_party_cryptography(_package: str, source: str) -> list[str]:
    """`cryptography` is used where secrets are sealed, where ed25519 and RSA sign, and where a client certificate is
    read."""
    return sorted(name for name in imported(source) if name.split(".")[0] == "cryptography")


def reads_environment(_package: str, source: str) -> list[str]:
    """Settings are read once, in a settings module or at an entry point, and passed on."""
    return [f"line {node.lineno}" for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
            and isinstance(node.value, ast.Name) and node.value.id == "os"]  # fmt: skip


def writes_redis_key(_package: str, source: str) -> list[str]:
    """Key names are built in relay_contract/redis/keys.py."""
    return re.findall(r"[\"'{]\{?relay\}:?\w*", source) if "{relay}" in source else []


def schedules_in_celery(_package: str, source: str) -> list[str]:
    """Back-off lives in `next_attempt_at`: Celery's ETA messages are delivered again and again on Redis."""
    return re.findall(r"\b(?:countdown|eta)=|self\.retry\(|apply_async\(", source)


def follows_redirects(_package: str, source: str) -> list[str]:
    """A redirect would leave the checked address."""
    return re.findall(r"allow_redirects=True", source)


@dataclass(frozen=True)
class Rule:
    """A check, the packages it speaks of, the files it excepts, and an example each way."""

    check: Callable[[str, str], list[str]]
    packages: tuple[str, ...]
    good: str
    bad: str
    excepted: frozenset[str] = frozenset()


RULES = (
    *(Rule(foreign_imports, (package,), "import json\n", f"def f():\n    import {min(FORBIDDEN_IMPORTS[package])}\n")
      for package in PACKAGES),
    Rule(third_party_cryptography, PACKAGES, "import hashlib\n", "from cryptography.fernet import Fernet\n",
         frozenset({"relay_contract/sealing.py", "relay_contract/signing_keys.py",
                    "relay_contract/client_certificates.py", "relay_contract/token_keys.py",
                    "relay_contract/access_tokens.py"})),
    Rule(reads_environment, PACKAGES, "def read(environ): return environ['A']\n", "import os\nA = os.environ['A']\n",
         frozenset({"relay_edge/__main__.py", "relay_admin/asgi.py", "delivery/app.py", "standalone/__main__.py",
                    "standalone/environment.py"})),
    Rule(writes_redis_key, PACKAGES, "key = keys.wake(1)\n", "key = '{relay}:wake:1'\n",
         frozenset({"relay_contract/redis/keys.py"})),
    Rule(schedules_in_celery, ("delivery", "relay_admin"), "drain.delay(1)\n",
         "drain.apply_async((1,), countdown=5)\n"),
    Rule(follows_redirects, PACKAGES, "allow_redirects=False\n", "get(url, allow_redirects=True)\n"),
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.check.__name__}-{rule.packages[0]}")
def test_rule_holds(rule: Rule) -> None:
    package = rule.packages[0]
    assert rule.check(package, rule.good) == []
    assert rule.check(package, rule.bad) != []
    found = {
        str(path.relative_to(ROOT)): violations
        for package in rule.packages
        for path in sources(package)
        if str(path.relative_to(ROOT)) not in rule.excepted
        and (violations := rule.check(package, path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        ("relay_edge.app", {"django", "celery", "kombu", "relay_admin", "delivery", "requests", "google"}),
        (
            "relay_contract.intake",
            {"django", "aiohttp", "celery", "kombu", "redis", "psycopg", "cryptography", "jsonschema_rs"},
        ),
        ("standalone.supervisor", {"django", "relay_admin", "relay_edge", "delivery"}),
    ],
)
def test_a_process_never_loads_what_its_room_forbids(module: str, strangers: set[str]) -> None:
    """The AST rule sees imports as written; this one sees what they drag in."""
    program = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert strangers & set(loaded.stdout.split()) == set()


def tracked() -> list[Path]:
    """Every text file of ours: what git tracks, and what it would track."""
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split()  # fmt: skip
    return [ROOT / name for name in names if (ROOT / name).suffix not in {".png", ".ico"} and (ROOT / name).is_file()]


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    registries = ("pypi" + r"\.org", r"registry\." + "npmjs", r"deb\." + "debian")  # in halves: this file is read too
    pattern = re.compile("|".join(("/" + "root/", "/" + "home/[a-z]+/", *registries)))
    found = [str(path.relative_to(ROOT)) for path in tracked() if pattern.search(path.read_text(errors="replace"))]
    assert found == []


READ_VARIABLE = re.compile(r"[\"']((?:RELAY|DEMO)_[A-Z0-9_]+|DATABASE_URL|REDIS_URL)[\"']")


def test_env_example_names_every_variable_that_is_read_and_no_other() -> None:
    read = {name for path in sources(*PACKAGES) for name in READ_VARIABLE.findall(path.read_text(encoding="utf-8"))}
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text(encoding="utf-8")))
    documented = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert documented == read | asked


def test_architecture_tree_is_the_real_tree() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = text.split("<!-- tree -->", 1)[1].split("```", 2)[1]
    named = {match for line in block.splitlines() if (match := line.split("  ")[0].strip())}
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert missing == []
    listed = {name.split("/")[0] for name in named}
    assert {package for package in PACKAGES if package not in listed} == set()
    documented_modules = {name for name in named if name.endswith(".py")}
    real = {str(path.relative_to(ROOT)) for path in sources("relay_edge", "delivery", "relay_contract")
            if path.name != "__init__.py"}  # fmt: skip
    rooms = {"relay_edge", "delivery", "relay_contract"}
    in_rooms = {name for name in documented_modules if name.split("/")[0] in rooms}
    assert in_rooms == real
