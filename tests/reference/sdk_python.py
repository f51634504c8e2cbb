"""The public names of `relay_sdk`: signatures and docstrings, read from the sources without importing them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "sdk" / "python" / "src" / "relay_sdk"
SECTIONS = {
    "client": "Client",
    "async_client": "Client, awaited",
    "calls": "Answers",
    "streams": "Streams",
    "account": "Account",
    "webhooks": "Webhooks",
    "tokens": "Bearers",
    "oauth": "Users' tokens",
    "retries": "Retries",
    "errors": "Errors",
}
"""Module to heading, in the order of the page."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
_SPOKEN = ("__call__", "__init__")


def page() -> str:
    """A section a module that has public names."""
    found = names()
    if set(found.values()) != set(SECTIONS):
        raise ValueError(f"SECTIONS lack or have too many: {set(found.values()) ^ set(SECTIONS)}")
    return "\n".join(
        _section(module, [name for name, where in found.items() if where == module]) for module in SECTIONS
    )


def names() -> dict[str, str]:
    """Public name to the module that defines it. Raises KeyError for one of `__all__` that is imported from nowhere."""
    where: dict[str, str] = {}
    public: list[str] = []
    for node in _parsed("__init__").body:
        match node:
            case ast.ImportFrom(module=str(module), names=imported):
                where |= {one.name: module.removeprefix("relay_sdk.") for one in imported}
            case ast.Assign(targets=[ast.Name("__all__")], value=value):
                public = ast.literal_eval(value)
    return {name: where[name] for name in public}


@cache
def _parsed(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def _section(module: str, public: list[str]) -> str:
    tree = _parsed(module)
    before = f"```text\n{ast.get_docstring(tree)}\n```\n\n" if module == "errors" else ""
    definitions = [one for one in tree.body if isinstance(one, ast.ClassDef | Function) and one.name in public]
    return f"## {SECTIONS[module]}\n\n{before}" + "\n".join(_definition(one, tree) for one in definitions)


def _definition(one: ast.ClassDef | Function, tree: ast.Module) -> str:
    said = ast.get_docstring(one) or ""
    if not isinstance(one, ast.ClassDef):
        return f"### `{one.name}`\n\n```text\n{_signature(one, one.name)}\n```\n\n{said}\n"
    members = list(_members(one, tree))
    made = "".join(f"```text\n{text}\n```\n\n" for text in _makings(one, members))
    spoken = [f"- {_member(each)}\n" for each in members if each.name != "__init__"]
    return f"### `{one.name}`{_bases(one)}\n\n{made}{said}\n" + ("\n" + "".join(spoken) if spoken else "")


def _bases(one: ast.ClassDef) -> str:
    public = [base.id for base in one.bases if isinstance(base, ast.Name) and not base.id.startswith("_")]
    shown = [name for name in public if name not in ("Exception", "Protocol")]
    return f", of `{shown[0]}`" if shown else ""


def _makings(one: ast.ClassDef, members: list[Function]) -> Iterator[str]:
    """How it is made, by fields or by `__init__`; not of what says "Of `x`." and so comes from there."""
    if one.decorator_list:
        fields = [each for each in one.body if isinstance(each, ast.AnnAssign)]
        yield f"{one.name}({', '.join(map(ast.unparse, fields))})"
    if not (ast.get_docstring(one) or "").startswith("Of `"):
        yield from (_signature(each, one.name) for each in members if each.name == "__init__")


def _members(one: ast.ClassDef, tree: ast.Module) -> Iterator[Function]:
    """Public ones, those of private bases first."""
    own = {base.id for base in one.bases if isinstance(base, ast.Name) and base.id.startswith("_")}
    for base in tree.body:
        if isinstance(base, ast.ClassDef) and base.name in own:
            yield from _members(base, tree)
    for each in one.body:
        if isinstance(each, Function) and (not each.name.startswith("_") or each.name in _SPOKEN):
            if each.name == "__init__" and one.name.startswith("_"):
                continue
            yield each


def _member(one: Function) -> str:
    said = " ".join((ast.get_docstring(one) or "").split())
    words = [ast.unparse(each) for each in one.decorator_list]
    name = "" if one.name == "__call__" else one.name
    if "property" in words:
        shown = f"{name}: {ast.unparse(one.returns)}" if one.returns else name
    else:
        shown = ("await " if isinstance(one, ast.AsyncFunctionDef) and not _is_iterated(one) else "") + _signature(
            one, name
        )
    return f"`{shown}`" + (f": {said}" if said else "")


def _is_iterated(one: Function) -> bool:
    return one.returns is not None and ast.unparse(one.returns).startswith("AsyncIterator")


def _signature(one: Function, name: str) -> str:
    arguments = re.sub(r"^(?:self|cls)(?:, )?", "", ast.unparse(one.args))
    arguments = re.sub(r"(?<=[\w\]])=", " = ", arguments)  # as the sources are formatted
    answer = f" -> {ast.unparse(one.returns)}" if one.returns and one.name != "__init__" else ""
    return f"{name}({arguments}){answer}"
