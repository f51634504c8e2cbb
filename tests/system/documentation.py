"""The pages of the documentation as programs: which of their blocks run, how, and what their answers have to be.

A fenced block says by its language what it is:

- `console`: a session. Commands behind `$ ` (further lines behind `> `), and below each what it prints, where `...` is
  anything. Nothing is asked of what a command prints where nothing is written.
- `sh`: commands that succeed. `python`, `js`: a program that succeeds.
- any other language (`yaml`, `json`, `text`, ...): no command. A block has a language, so that none is overlooked.

A comment in the line before a block says more of it:

- `<!-- file: name -->`: a file that readers save; the page's own commands use it.
- `<!-- not run: reason -->`: why nobody can run it here.

A page that says `<!-- runs alone: reason -->` disturbs others, or is disturbed by them.

The blocks of a page run in their order in one `bash -euo pipefail`, in a folder with the page's files. No command may
be answered with an error code that the page does not speak of.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SHELLS = frozenset({"console", "sh"})
PROGRAMS = {"python": ("python", ".py"), "js": ("node", ".mjs")}
SESSION_SECONDS = 120

_BLOCK = re.compile(
    r"^(?: *<!-- (?P<mark>file|not run): (?P<said>[^\n]+) -->\n)?"
    r"(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_END = "--- end of a command ---"
_ERROR = re.compile(r'"(?:error|code)": ?"(\w+)"')


class DocumentationError(AssertionError):
    """A page says what is not so; the text names page and line."""


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` counts from 1 and is that of the fence; `file` and `reason` are empty where not said."""

    line: int
    language: str
    text: str
    file: str = ""
    reason: str = ""

    @property
    def is_command(self) -> bool:
        """Whether it claims to run, or would if it gave no reason."""
        return not self.file and (self.language in SHELLS or self.language in PROGRAMS)

    @property
    def runs(self) -> bool:
        return self.is_command and not self.reason


@dataclass
class Command:
    """What is typed, in which line of its page, and the lines that it prints."""

    line: int
    text: str
    prints: list[str] = field(default_factory=list)


def runs_alone(page: str) -> bool:
    """Whether no other page may run meanwhile."""
    return re.search(r"^<!-- runs alone: .+ -->$", page, re.MULTILINE) is not None


def blocks(page: str) -> list[Block]:
    """All of a page, in their order."""
    return [
        Block(
            line=page.count("\n", 0, one.start("indent")) + 1,
            language=one["language"].partition(" ")[0],
            text=re.sub(rf"^{one['indent']}", "", one["text"], flags=re.MULTILINE),
            file=one["said"] if one["mark"] == "file" else "",
            reason=one["said"] if one["mark"] == "not run" else "",
        )
        for one in _BLOCK.finditer(page)
    ]


def files(page: str) -> dict[str, str]:
    """What has to lie in the folder before its commands run: the files that readers save, and its programs."""
    saved: dict[str, str] = {}
    for block in blocks(page):
        name = block.file or (_program(block) if block.runs and block.language in PROGRAMS else "")
        if name in saved:
            raise DocumentationError(f"line {block.line}: a second file of the name {name}")
        if name:
            saved[name] = block.text
    return saved


def commands(page: str) -> list[Command]:
    """Those of all blocks that run, in their order."""
    found: list[Command] = []
    for block in blocks(page):
        if not block.runs:
            continue
        if block.language == "console":
            found += _session(block)
        elif block.language == "sh":
            found.append(Command(block.line, block.text.rstrip()))
        else:
            found.append(Command(block.line, f"{PROGRAMS[block.language][0]} {_program(block)}"))
    return found


def _program(block: Block) -> str:
    return f"line-{block.line}{PROGRAMS[block.language][1]}"


def _session(block: Block) -> Iterator[Command]:
    command: Command | None = None
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            if command:
                yield command
            command = Command(number, line[2:])
        elif command is None:
            raise DocumentationError(f"line {number}: a session begins with a command")
        elif line.startswith("> "):
            command.text += f"\n{line[2:]}"
        else:
            command.prints.append(line)
    if command:
        yield command


def run(page: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Runs a page as it stands in a folder that has its files. Raises DocumentationError."""
    session = commands(page)
    script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
    script += "".join(f"{one.text}\necho; echo '{_END}'\n" for one in session)
    done = _bash(script, folder, environment)
    printed = done.stdout.split(f"\n{_END}\n")
    if len(printed) != len(session) + 1:
        failed = session[len(printed) - 1]
        raise DocumentationError(f"line {failed.line}: {failed.text}\nfailed: {printed[-1]}\n{done.stderr[-3000:]}")
    for command, said in zip(session, printed, strict=False):
        if problem := difference(command, said.strip(), page):
            raise DocumentationError(f"line {command.line}: {command.text}\n{problem}\n{done.stderr[-3000:]}")


def difference(command: Command, said: str, page: str) -> str:
    """What is wrong with what a command printed; empty: nothing."""
    strange = [code for code in _ERROR.findall(said) if code not in page]
    if strange:
        return f"answered {said}\nwith an error that the page does not speak of: {strange[0]}"
    wanted = "\n".join(command.prints).strip()
    pattern = re.escape(wanted).replace(re.escape("..."), ".*?")
    if wanted and not re.fullmatch(pattern, said, re.DOTALL):
        return f"prints\n{said}\nand the page says\n{wanted}"
    return ""


def _bash(script: str, folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """In a process group of its own, of which nothing is left."""
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
    ) as shell:  # fmt: skip
        try:
            output, problems = shell.communicate(timeout=SESSION_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            output, problems = shell.communicate()
            problems += f"\nstill going after {SESSION_SECONDS} s"
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)  # what a page started and did not stop
    return subprocess.CompletedProcess(shell.args, shell.returncode, output, problems)
