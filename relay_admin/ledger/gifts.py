"""Credits that a new user is given, once: from promotions, when their e-mail address is known to be theirs."""

from uuid import UUID

from django.conf import settings

from relay_admin.access.models import User
from relay_admin.ledger.posting import post
from relay_contract.credits import MICRO
from relay_contract.ledger import PROMOTIONS, AccountId, EntryKind, Leg
from relay_contract.nouns import KeyMode

_VERSION_7 = 0x7 << 76 | 0b10 << 62


def gift_give(user: User) -> bool:
    """Whether they were given it now. However often it is called, whatever the setting says by then, a user has one:
    its source is made of the user's number alone."""
    microcredits = settings.SIGNUP_GIFT_CREDITS * MICRO
    if not microcredits or user.email_verified_at is None or not user.is_active:
        return False
    wallet: int = User.objects.values_list("live_wallet_id", flat=True).get(pk=user.pk)  # the database gave it
    leg = Leg(EntryKind.GIFT, PROMOTIONS[KeyMode.LIVE], AccountId(wallet), microcredits)
    return post(leg, source=gift_source(user.pk), note="Welcome.", by_id=None)


def gift_source(user_id: int) -> UUID:
    """A UUID as of the first moment there was, which no other source is: in lists by time a gift stands first."""
    return UUID(int=_VERSION_7 | user_id & (1 << 62) - 1)
