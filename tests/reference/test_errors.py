"""docs/reference/errors.md against the codes that the code has, where no single place lists them."""

import ast
import re
from collections.abc import Iterator

from delivery.attempt import Fault
from relay_admin.control_api.errors import _ACTIONS, _CONFLICTS
from relay_contract.intake import DeadReason
from tests.reference import errors
from tests.reference.parts import DOCS

CONTROL_PLANE = DOCS.parent / "relay_admin"
ERROR_FIELDS = {"error", "message", "action"}
SIGNS = ("shape(", "default_code", "CodeRefusedError(", '"action"')
"""What stands in every file that writes a code: the others need not be parsed."""


def codes_in(source: str) -> Iterator[str]:
    """Codes that a file of the control plane writes: `shape("code", ...)`, `default_code = "code"`, refusals of credit
    codes, and whole bodies."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name("shape"), args=[ast.Constant(str(code)), *_]):
                yield code
            case ast.Call(func=ast.Name("CodeRefusedError"), args=[ast.Constant(str(code)), *_]):
                yield f"code_{code}"
            case ast.Assign(targets=[ast.Name("default_code")], value=ast.Constant(str(code))):
                yield code
            case ast.Dict(keys=keys, values=[ast.Constant(str(code)), *_]) if _texts(keys) >= ERROR_FIELDS:
                yield code


def _texts(nodes: list[ast.expr | None]) -> set[object]:
    return {node.value for node in nodes if isinstance(node, ast.Constant)}


def told() -> dict[str, set[int]]:
    """Code to statuses, of the control API's table; no status for results of tools."""
    section = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8").partition("## Control API")[2]
    found: dict[str, set[int]] = {}
    for status, cell in re.findall(r"^\| (\d*) ?\| (`[^|]+`) \|", section, re.MULTILINE):
        for code in re.findall(r"`(\w+)`", cell):
            found.setdefault(code, set()).update({int(status)} if status else ())
    return found


def test_codes_are_found_however_they_are_written() -> None:
    written = (
        'a = shape("one", "m", "a")\nclass B(E):\n    default_code = "two"\n'
        'C = {"error": "three", "message": "m", "action": "a"}\nd = {"error": "none"}\n'
        'raise CodeRefusedError("four", "t")\n'
    )
    assert sorted(codes_in(written)) == ["code_four", "one", "three", "two"]


def test_the_control_apis_codes_are_all_there_and_no_others() -> None:
    sources = (path.read_text(encoding="utf-8") for path in CONTROL_PLANE.rglob("*.py"))
    written = {code for source in sources if any(sign in source for sign in SIGNS) for code in codes_in(source)}
    known = {code for code, _ in _ACTIONS.values()} | set(_CONFLICTS)
    assert set(told()) == written | known
    assert {code for kind, (code, _) in _ACTIONS.items() if kind.status_code not in told()[code]} == set()


def test_what_people_wrote_beside_codes_is_of_codes_that_are() -> None:
    assert set(errors.CLEARED_BY) == {error.code for error in errors.tree()}
    assert set(errors.ENDS) == set(DeadReason)
    assert set(errors.FAULTS) == set(Fault)
