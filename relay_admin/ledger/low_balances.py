"""Mails about wallets that run low: to the user whose own it is, or to the owner and admins of its project.

One for each fall: a row says that it was told, and goes when the balance is not low any more, a day later at the
earliest, so that what goes up and down around the limit sends one mail a day at most.
"""

from django.db import connection, transaction

from relay_admin.access.mails import mail_queue, sends_mail
from relay_admin.access.models import MailKind, User
from relay_admin.access.roles import Role
from relay_admin.ledger.models import Account

# Of what was folded: a second old at most, and one row an account. One that never had anything has not fallen.
_LEFT = "(b.credit - b.debit - b.open_holds)"
_RISEN = f"""
DELETE FROM ledger_lowtold AS told USING ledger_account AS a LEFT JOIN ledger_balance AS b ON b.account_id = a.id
WHERE a.id = told.account_id AND told.told_at < now() - interval '1 day'
    AND (a.low_balance_microcredits IS NULL OR {_LEFT} >= a.low_balance_microcredits)
"""  # noqa: S608 (constants)
_FALLEN = f"""
INSERT INTO ledger_lowtold (account_id)
SELECT a.id FROM ledger_account AS a JOIN ledger_balance AS b ON b.account_id = a.id
WHERE a.kind = 'wallet' AND b.credit > 0 AND {_LEFT} < a.low_balance_microcredits
    AND NOT EXISTS (SELECT 1 FROM ledger_lowtold AS told WHERE told.account_id = a.id)
ORDER BY a.id LIMIT %s
ON CONFLICT DO NOTHING RETURNING account_id
"""  # noqa: S608 (constants)
MOST_TOLD = 500
"""Wallets, by one run of the task."""


def low_balances_tell() -> int:
    """Queue the mails about wallets that have fallen; about how many. Nothing without a mail server."""
    if not sends_mail():
        return 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_RISEN)
        cursor.execute(_FALLEN, [MOST_TOLD])
        fallen = [row[0] for row in cursor.fetchall()]
        for account in Account.objects.filter(pk__in=fallen):
            for person in _people_of(account):
                mail_queue(kind=MailKind.LOW_BALANCE, address=person.email, user=person, account_id=account.pk)
    return len(fallen)


def _people_of(account: Account) -> list[User]:
    """Those whose address is known to be theirs."""
    known = User.objects.filter(is_active=True, email_verified_at__isnull=False)
    if account.user_id is not None:
        return list(known.filter(pk=account.user_id))
    roles = (str(Role.OWNER), str(Role.ADMIN))
    return list(known.filter(memberships__project=account.project_id, memberships__role__in=roles).order_by("pk"))
