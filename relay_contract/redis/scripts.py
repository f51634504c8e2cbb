"""The Lua scripts, as text and as the SHA-1 by which Redis knows them. Each file's head says what it takes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Script:
    """A script. EVALSHA with `sha1`; after NOSCRIPT, SCRIPT LOAD `text` and try again."""

    name: str
    text: bytes
    sha1: bytes  # 40 hexadecimal digits


def _read(name: str) -> Script:
    text = (Path(__file__).parent / f"{name}.lua").read_bytes()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


ADMIT = _read("admit")
SETTLE = _read("settle")
RENEW = _read("renew")
REPORT = _read("report")
CLAIM = _read("claim")
CLAIM_RENEW = _read("claim_renew")
CLAIM_END = _read("claim_end")
FUND = _read("fund")
FREE = _read("free")
RECOUNT = _read("recount")
TAKE = _read("take")
TAKE_SOME = _read("take_some")
SEED = _read("seed")
TURN = _read("turn")

ALL = (ADMIT, SETTLE, RENEW, REPORT, CLAIM, CLAIM_RENEW, CLAIM_END, FUND, FREE, RECOUNT, TAKE, TAKE_SOME, SEED, TURN)
