"""Credit codes: whoever has one gets credits from promotions, each user once. Only a code's hash is stored."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from relay_admin.access.models import User
from relay_admin.access.throttle import attempt_begin, attempt_succeeded
from relay_admin.ledger.models import Account, CodeRedemption, CreditCode
from relay_admin.ledger.posting import post
from relay_contract.ids import uuid7
from relay_contract.ledger import MAX_AMOUNT, PROMOTIONS, AccountId, AccountKind, EntryKind, Leg, mode_of
from relay_contract.nouns import KeyMode

_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # none that people take for another
_GROUPS, _GROUP_LENGTH = 4, 4
"""32^16, so 80 bits: nobody guesses one, from the hash neither."""
MAX_USES = 1_000_000
MAX_NOTE = 200


class CodeRefusedError(Exception):
    """`code`: unknown, ended, used_up, other_mode or redeemed. The text is for whoever typed it."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class MadeCode:
    """A code as it is told, once: `ABCD-EFGH-JKLM-NPQR`."""

    row: CreditCode
    text: str = field(repr=False)


def code_make(
    *, microcredits: int, mode: KeyMode, most_uses: int, expires_at: datetime | None, note: str, by: User
) -> MadeCode:
    """Raises ValidationError."""
    if not 0 < microcredits <= MAX_AMOUNT:
        raise ValidationError(f"The credits are above 0, and at most {MAX_AMOUNT} micro-credits.")
    if not 0 < most_uses <= MAX_USES:
        raise ValidationError(f"A code is used 1 to {MAX_USES} times.")
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError("This expiry is over.")
    if not note.strip() or len(note) > MAX_NOTE or "\x00" in note:
        raise ValidationError(f"Say what it is for, in at most {MAX_NOTE} characters.")
    letters = "".join(secrets.choice(_LETTERS) for _ in range(_GROUPS * _GROUP_LENGTH))
    row = CreditCode.objects.create(
        code_hash=_hash(letters),
        hint=letters[-_GROUP_LENGTH:],
        mode=str(mode),
        microcredits=microcredits,
        most_uses=most_uses,
        expires_at=expires_at,
        note=note,
        by_id=by.pk,
    )
    groups = [letters[start : start + _GROUP_LENGTH] for start in range(0, len(letters), _GROUP_LENGTH)]
    return MadeCode(row, "-".join(groups))


def code_disable(*, code: CreditCode) -> bool:
    """Whether it was enabled. What was redeemed stays."""
    return bool(CreditCode.objects.filter(pk=code.pk, is_enabled=True).update(is_enabled=False))


def code_redeem(*, text: str, account: Account, by: User, address: str) -> CodeRedemption:
    """Credits for the wallet, once a user. Raises CodeRefusedError, ValidationError, and LoginThrottled for who tried
    too often: `address` is the caller's."""
    if account.kind != AccountKind.WALLET:
        raise ValidationError("Codes are redeemed for wallets.")
    name = f"credit codes\0{by.pk}"  # no sign-in's: forms take no NUL
    attempt_begin(address, name)
    redemption = _redeem(text, account, by)
    attempt_succeeded(address, name)
    return redemption


def _redeem(text: str, account: Account, by: User) -> CodeRedemption:
    with transaction.atomic():
        code = CreditCode.objects.select_for_update().filter(code_hash=_hash(text)).first()
        if code is None:
            raise CodeRefusedError("unknown", "There is no such code. Check its letters.")
        _check(code, account, by)
        redemption = CodeRedemption.objects.create(source=uuid7(), code=code, user_id=by.pk, account=account)
        code.uses += 1
        code.save(update_fields=["uses"])
        promotions = PROMOTIONS[mode_of(account.pk)]
        leg = Leg(EntryKind.CODE, promotions, AccountId(account.pk), code.microcredits)
        post(leg, source=redemption.source, note=code.note, by_id=by.pk)
        LogEntry.objects.log_actions(by.pk, [account], CHANGE, f"Redeemed code {code}.", single_object=True)
    return redemption


def _check(code: CreditCode, account: Account, by: User) -> None:
    """With the code's row locked, so that of two who come at once the second sees the first."""
    if CodeRedemption.objects.filter(code=code, user_id=by.pk).exists():
        raise CodeRefusedError("redeemed", "You redeemed this code before.")
    if not code.is_enabled or (code.expires_at is not None and code.expires_at <= timezone.now()):
        raise CodeRefusedError("ended", "This code is over.")
    if code.uses >= code.most_uses:
        raise CodeRefusedError("used_up", "This code was redeemed as often as it may be.")
    if code.mode != account.mode:
        raise CodeRefusedError("other_mode", f"This code is for {code.mode} wallets.")


def _hash(text: str) -> bytes:
    """However it was typed: case, spaces and dashes do not matter."""
    letters = "".join(text.split()).replace("-", "").upper()
    return hashlib.sha256(letters.encode("utf-8", "surrogatepass")).digest()
