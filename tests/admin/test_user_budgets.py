"""What users may spend in a project: who sets it, by which door, and who sees how much of it is used."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client

from relay_admin.access import budgets, memberships
from relay_admin.access.models import AuditEvent, Membership
from relay_admin.access.roles import Role
from relay_admin.catalog import document, plan
from relay_admin.catalog.models import Project
from relay_contract.periods import Period, end_ms, index
from relay_contract.redis import keys
from tests.admin import rows
from tests.admin.test_members import JSON, bearer, control_key, member

DAY, MONTH = {"microcredits": 70, "period": "day"}, {"microcredits": 5_000_000, "period": "month"}
API, HOME = "/api/v1/projects/shop", "/portal/projects/shop/"
MANAGERS = (Role.OWNER, Role.ADMIN)


def browser(who: Membership) -> Client:
    client = Client()
    client.force_login(who.user)
    return client


def stored(who: Membership) -> tuple[bool, Any]:
    who.refresh_from_db()
    return who.has_own_budget, who.budget


@pytest.fixture
def spent(redis_url: str) -> Iterator[Any]:
    """Writes what a purse of a budget says, as admission does, in a Redis where money is open."""
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.MONEY, "41:38:abc")

        def write(who: Membership, used: int, period: Period, bucket: int | None = None) -> None:
            seconds, _ = client.time()  # type: ignore[misc]  # no coroutine
            number = index(period, seconds * 1000) if bucket is None else bucket
            key = keys.purse("b", f"user:{who.project_id}.{who.user_id}")
            client.hset(key, mapping={"bucket": number, "used": used, "h:ab:1": 1})

        yield write


# What is stored


def test_a_member_has_the_project_s_budget_another_or_none(catalog: rows.Catalog) -> None:
    who = member(catalog.project, "viewer")
    assert who.user_budget is None
    budgets.user_budget_set(project=catalog.project, budget=MONTH)
    who = Membership.objects.get(pk=who.pk)
    assert who.user_budget == MONTH
    assert memberships.membership_budget_set(membership=who, has_own_budget=True, budget=DAY).user_budget == DAY
    assert memberships.membership_budget_set(membership=who, has_own_budget=True, budget=None).user_budget is None
    assert memberships.membership_budget_set(membership=who, has_own_budget=False, budget=None).user_budget == MONTH


@pytest.mark.parametrize("budget", [{}, 5, {"microcredits": -1, "period": "day"}, {**DAY, "period": "year"}])
def test_what_is_no_budget_is_refused(budget: Any, catalog: rows.Catalog) -> None:
    who = member(catalog.project, "viewer")
    with pytest.raises(ValidationError, match="Write"):
        memberships.membership_budget_set(membership=who, has_own_budget=True, budget=budget)
    with pytest.raises(ValidationError, match="Write"):
        budgets.user_budget_set(project=catalog.project, budget=budget)
    catalog.project.refresh_from_db()
    assert (stored(who), catalog.project.user_budget) == ((False, None), None)


def test_a_budget_without_the_word_for_it_is_none(catalog: rows.Catalog) -> None:
    """Else an edge would not hold it, and nobody would know."""
    who = member(catalog.project, "viewer")
    with pytest.raises(ValidationError, match="say that they have one"):
        memberships.membership_budget_set(membership=who, has_own_budget=False, budget=DAY)
    with transaction.atomic(), pytest.raises(IntegrityError, match="access_membership_own_budget"):
        Membership.objects.update(budget=DAY)


def test_the_audit_log_shows_before_and_after(catalog: rows.Catalog) -> None:
    who = member(catalog.project, "viewer")
    budgets.user_budget_set(project=catalog.project, budget=MONTH)
    memberships.membership_budget_set(membership=who, has_own_budget=True, budget=DAY)
    changes = AuditEvent.objects.filter(action="update", project_id=catalog.project.pk)
    of_project, of_member = changes.get(subject="catalog.project"), changes.get(subject="access.membership")
    assert (of_project.before, of_project.after) == ({"user_budget": None}, {"user_budget": MONTH})
    assert of_member.before == {"has_own_budget": False, "budget": None}
    assert of_member.after == {"has_own_budget": True, "budget": DAY}


# The control API


@pytest.mark.parametrize("role", list(Role))
def test_who_manages_members_sets_budgets_by_the_api(role: Role, catalog: rows.Catalog) -> None:
    who, caller = member(catalog.project, "viewer", "vic"), member(catalog.project, role)
    client, address = bearer(caller), f"{API}/members/{who.pk}"
    answers = [
        client.patch(API, {"userBudget": MONTH}, content_type=JSON),
        client.patch(address, {"hasOwnBudget": True, "budget": DAY}, content_type=JSON),
    ]
    catalog.project.refresh_from_db()
    if role in MANAGERS:
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json()["userBudget"] == catalog.project.user_budget == MONTH
        assert answers[1].json() | {"hasOwnBudget": True, "budget": DAY, "role": "viewer"} == answers[1].json()
        assert stored(who) == (True, DAY)
    else:
        assert [answer.status_code for answer in answers] == [403, 403]
        assert (catalog.project.user_budget, stored(who)) == (None, (False, None))


def test_what_is_not_sent_stays(catalog: rows.Catalog) -> None:
    who, client = member(catalog.project, "viewer", "vic"), bearer(member(catalog.project, "admin"))

    def change(**body: Any) -> int:
        return client.patch(f"{API}/members/{who.pk}", body, content_type=JSON).status_code

    assert change(budget=DAY) == 400, "they have no budget of their own"
    assert (change(hasOwnBudget=True, budget=DAY), stored(who)) == (200, (True, DAY))
    assert (change(role="support"), stored(who)) == (200, (True, DAY))
    assert (change(budget=MONTH), stored(who)) == (200, (True, MONTH))
    assert change(budget={"microcredits": 1, "period": "year"}) == 400
    assert change(role="owner", budget=DAY) == 400
    assert stored(who) == (True, MONTH), "all of it or nothing"
    assert (change(budget=None), stored(who)) == (200, (True, None))
    assert (change(hasOwnBudget=False), stored(who)) == (200, (False, None))
    nothing = client.patch(API, {}, content_type=JSON)
    assert (nothing.status_code, nothing.json()["userBudget"]) == (200, client.get(API).json()["userBudget"])


def test_a_key_that_controls_sets_no_budget(catalog: rows.Catalog) -> None:
    client = control_key(catalog.project)
    assert client.patch(API, {"userBudget": None}, content_type=JSON).status_code == 403
    assert client.get(API).json()["ownBudget"] is None


def test_members_see_their_own_figure(catalog: rows.Catalog, spent: Any) -> None:
    who, other = member(catalog.project, "customer"), member(catalog.project, "viewer")
    budgets.user_budget_set(project=catalog.project, budget=MONTH)
    spent(who, 1_250_000, Period.MONTH)
    before = end_ms(Period.MONTH, int(datetime.now(UTC).timestamp() * 1000))
    own = bearer(who).get(API).json()["ownBudget"]
    assert own.pop("resetAt") == datetime.fromtimestamp(before / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert own == {"microcredits": 5_000_000, "period": "month", "used": 1_250_000}
    assert bearer(other).get(API).json()["ownBudget"]["used"] == 0
    page = browser(who).get(HOME).content.decode()
    assert "You may spend 5 credits a month, of which 1.25 are used. It begins anew on" in " ".join(page.split())


def test_what_was_used_in_another_period_is_over(catalog: rows.Catalog, spent: Any) -> None:
    who = member(catalog.project, "customer")
    memberships.membership_budget_set(membership=who, has_own_budget=True, budget=DAY)
    spent(who, 60, Period.DAY, bucket=1)
    found = budgets.spending_of(Membership.objects.get(pk=who.pk))
    assert found is not None
    assert (found.microcredits, found.used) == (70, 0)


def test_where_nobody_knows_nothing_is_made_up(catalog: rows.Catalog, redis_url: str) -> None:
    """Money is closed: the marker is not there."""
    who = member(catalog.project, "customer")
    budgets.user_budget_set(project=catalog.project, budget=MONTH)
    assert bearer(who).get(API).json()["ownBudget"]["used"] is None
    page = browser(who).get(HOME).content.decode()
    assert "how much of it is used is not known at the moment" in page


def test_who_has_no_budget_is_told_of_none(catalog: rows.Catalog) -> None:
    who = member(catalog.project, "customer")
    assert bearer(who).get(API).json()["ownBudget"] is None
    assert "You may spend" not in browser(who).get(HOME).content.decode()


# The portal


@pytest.mark.parametrize("role", list(Role))
def test_who_manages_members_sets_budgets_in_the_portal(role: Role, catalog: rows.Catalog) -> None:
    who, client = member(catalog.project, "viewer", "vic"), browser(member(catalog.project, role))
    pages = f"{HOME}members/budget", f"{HOME}members/{who.pk}/budget"
    typed = {"budget_credits": "2.5", "budget_period": "week"}
    answers = [client.post(pages[0], typed), client.post(pages[1], {"whose": "own", **typed})]
    wanted = {"microcredits": 2_500_000, "period": "week"}
    catalog.project.refresh_from_db()
    if role in MANAGERS:
        assert [answer.status_code for answer in answers] == [302, 302]
        assert (catalog.project.user_budget, stored(who)) == (wanted, (True, wanted))
        listed = " ".join(client.get(f"{HOME}members").content.decode().split())
        assert "Each user may spend: 2.5 credits a week." in listed
        assert re.search(r'2\.5 credits a week<span class="sr-only">: the budget of vic@example\.test', listed)
    else:
        assert [answer.status_code for answer in answers] == [403, 403]
        assert (catalog.project.user_budget, stored(who)) == (None, (False, None))


def test_the_form_makes_clear_whose_budget_it_is(catalog: rows.Catalog) -> None:
    who, client = member(catalog.project, "customer"), browser(member(catalog.project, "admin"))
    budgets.user_budget_set(project=catalog.project, budget=MONTH)
    address, typed = f"{HOME}members/{who.pk}/budget", {"budget_credits": "7", "budget_period": "day"}

    def checked() -> str:
        [found] = re.findall(r'value="(\w+)"[^>]* checked', client.get(address).content.decode())
        return str(found)

    assert (checked(), "As every user here: 5 credits a month" in client.get(address).content.decode()) == (
        "project",
        True,
    )
    client.post(address, {"whose": "own", **typed})
    assert (checked(), stored(who)) == ("own", (True, {"microcredits": 7_000_000, "period": "day"}))
    refused = client.post(address, {"whose": "own", "budget_credits": "", "budget_period": "day"})
    assert "Say how much, or choose that they have no budget." in refused.content.decode()
    assert stored(who)[1] == {"microcredits": 7_000_000, "period": "day"}
    client.post(address, {"whose": "none", **typed})
    assert (checked(), stored(who)) == ("none", (True, None))
    client.post(address, {"whose": "project", **typed})
    assert (checked(), stored(who)) == ("project", (False, None))
    assert stored(Membership.objects.get(role="customer")) == (False, None)


def test_the_owner_s_budget_may_be_set_too(catalog: rows.Catalog) -> None:
    """As everybody's: the owner can undo it."""
    owner, client = member(catalog.project, "owner"), browser(member(catalog.project, "admin"))
    client.post(f"{HOME}members/{owner.pk}/budget", {"whose": "own", "budget_credits": "0", "budget_period": "day"})
    assert stored(owner) == (True, {"microcredits": 0, "period": "day"})


# The admin and catalog documents


def test_operators_set_budgets_on_the_project_s_page(catalog: rows.Catalog, client_of: Any) -> None:
    who, client = member(catalog.project, "viewer", "vic"), client_of("superuser")
    address = f"/admin/catalog/project/{catalog.project.pk}/change/"
    page = client.get(address)
    form = {
        name: "" if value is None else value
        for name, value in page.context["adminform"].form.initial.items()
        if name not in ("is_archived", "budget", "user_budget")
    }
    form |= {"pool_cap_microcredits": "0", "user_budget-0-credits": "5", "user_budget-0-period": "month"}
    for formset in page.context["inline_admin_formsets"]:
        prefix = formset.formset.prefix
        total = formset.formset.initial_form_count()
        form |= {f"{prefix}-TOTAL_FORMS": total, f"{prefix}-INITIAL_FORMS": total}
        for each in formset.formset.initial_forms:
            form |= {f"{each.prefix}-{name}": value for name, value in each.initial.items() if value is not None}
            form[f"{each.prefix}-id"] = each.instance.pk
            if isinstance(each.instance, Membership):
                named = each.prefix
    form.pop(f"{named}-has_own_budget")
    form |= {f"{named}-budget-0-credits": "0.00007", f"{named}-budget-0-period": "day"}
    refused = client.post(address, form)
    assert "For a budget of their own, say that they have one." in refused.content.decode()
    assert client.post(address, form | {f"{named}-has_own_budget": "on"}).status_code == 302
    catalog.project.refresh_from_db()
    assert (catalog.project.user_budget, stored(who)) == (MONTH, (True, DAY))


def test_a_catalog_document_says_what_users_may_spend(catalog: rows.Catalog) -> None:
    def applied(budget: str) -> None:
        text = f"version: 1\nprojects:\n  - {{slug: shop, name: Shop, user_budget: {budget}}}\n"
        wanted = document.read(text)
        plan.apply(wanted, {}, plan.make(wanted, {}))

    applied("{microcredits: 70, period: day}")
    catalog.project.refresh_from_db()
    assert catalog.project.user_budget == DAY
    with pytest.raises(document.DocumentError, match="with day, week or month"):
        applied("{microcredits: 70, period: year}")


def test_who_only_looks_reads_words(catalog: rows.Catalog, client_of: Any) -> None:
    member(catalog.project, "viewer", "vic")
    Project.objects.update(user_budget=MONTH)
    page = client_of("viewers").get(f"/admin/catalog/project/{catalog.project.pk}/change/").content.decode()
    assert "5 credits a month" in page
    assert "microcredits" not in page
