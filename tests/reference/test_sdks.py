"""The readers of the SDKs' sources see what is there, and what is there is described. `test_parts.py` compares the
pages."""

import ast
from pathlib import Path

import relay_sdk

from tests.reference import sdk_python, sdk_typescript

SAMPLE = """/** Of a sample. */
export { one, type Two } from "./sample.js";
"""
MODULE = """/** What it is: } ; { are only words here. */
export async function one(
  options: {
    /** Of whom. */
    name?: string;
  } = {},
): Promise<{ found: boolean }> {
  return { found: options.name !== undefined };
}

// Not exported.
class Hidden {}

export class Two extends Base {
  readonly #secret = "x";
  declare readonly code: string;

  constructor(readonly text: string) {
    super(text);
  }

  /** Its name,
   * in two lines. */
  get name(): string {
    return this.#secret;
  }

  async *all(): AsyncGenerator<string> {
    yield this.text;
  }

  #own(): void {}
}
"""


def test_every_public_name_of_python_is_there() -> None:
    assert set(sdk_python.names()) == set(relay_sdk.__all__)
    page = sdk_python.page()
    assert [name for name in relay_sdk.__all__ if f"### `{name}`" not in page] == []


def test_every_public_name_of_python_is_described() -> None:
    for module in sdk_python.SECTIONS:
        tree = ast.parse((sdk_python.PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name in relay_sdk.__all__
            ):
                assert ast.get_docstring(node), node.name


def test_what_typescript_exports_is_read(tmp_path: Path) -> None:
    (tmp_path / "index.ts").write_text(SAMPLE)
    (tmp_path / "sample.ts").write_text(MODULE)
    names = list(sdk_typescript._names(tmp_path / "index.ts"))
    assert [name for name, _ in names] == ["one", "Two"]
    first, second = (sdk_typescript._entry(sdk_typescript.Export(name, "x", path)) for name, path in names)
    head = "function one(options: { name?: string; } = {}): Promise<{ found: boolean }>"
    assert first == f"### `one`\n\n```text\n{head}\n```\n\nWhat it is: }} ; {{ are only words here.\n"
    assert second.splitlines()[6:] == [
        "- `readonly code: string`",
        "- `constructor(readonly text: string)`",
        "- `get name(): string`: Its name, in two lines.",
        "- `*all(): AsyncGenerator<string>`",
    ]


def test_what_typescript_exports_to_call_is_described() -> None:
    for one in sdk_typescript.exports():
        text = sdk_typescript._entry(one)
        if "\nfunction " in text or "\nclass " in text:
            assert text.partition("\n```\n")[2].strip()[:2] not in ("", "- "), one.name
