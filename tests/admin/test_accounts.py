"""Projects and users have accounts from their first moment, and nothing gives them others."""

import pytest

from relay_admin.access.models import User
from relay_admin.catalog.models import Project
from relay_admin.ledger.models import Account
from relay_contract.ledger import mode_of

pytestmark = pytest.mark.django_db


def accounts_of(**owner: int) -> dict[tuple[str, str], int]:
    return {(one.kind, one.mode): one.pk for one in Account.objects.filter(**owner)}


def test_a_project_knows_its_accounts() -> None:
    project = Project.objects.create(slug="shop", name="Shop")
    found = accounts_of(project_id=project.pk)
    assert set(found) == {(kind, mode) for kind in ("wallet", "pool", "earnings") for mode in ("live", "test")}
    assert (project.live_wallet_id, project.test_wallet_id) == (found["wallet", "live"], found["wallet", "test"])
    assert (project.live_pool_id, project.test_pool_id) == (found["pool", "live"], found["pool", "test"])
    assert all(str(mode_of(number)) == mode for (_, mode), number in found.items())


def test_a_user_knows_its_wallets() -> None:
    user = User.objects.create_user("ada", "ada@example.com", "correct horse")
    found = accounts_of(user_id=user.pk)
    assert set(found) == {(kind, mode) for kind in ("wallet", "earnings") for mode in ("live", "test")}
    assert (user.live_wallet_id, user.test_wallet_id) == (found["wallet", "live"], found["wallet", "test"])
    assert Account.objects.get(pk=user.live_wallet_id).project_id is None


def test_nobody_points_at_the_wallet_of_another() -> None:
    own, other = (Project.objects.create(slug=slug, name=slug) for slug in ("own", "other"))
    wallet = own.live_wallet_id
    Project.objects.filter(pk=own.pk).update(live_wallet_id=other.live_wallet_id, test_pool_id=1)
    own.refresh_from_db()
    assert (own.live_wallet_id, own.test_pool_id) == (wallet, own.live_pool_id + 1)
    made = Project.objects.create(slug="third", name="third", live_wallet_id=other.live_wallet_id)
    assert made.live_wallet_id not in (other.live_wallet_id, wallet)
    user = User.objects.create_user("eve", "eve@example.com", "correct horse")
    User.objects.filter(pk=user.pk).update(live_wallet_id=wallet)
    user.refresh_from_db()
    assert user.live_wallet_id != wallet


def test_accounts_outlive_their_owners() -> None:
    user = User.objects.create_user("ada", "ada@example.com", "correct horse")
    number = user.pk
    user.delete()
    assert len(accounts_of(user_id=number)) == 4
