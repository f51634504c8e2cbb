"""The portal: who sees which project, what its pages offer by role, and what a stranger gets."""

import re

import pytest
from django.test import Client

from relay_admin.access.models import Membership, User
from relay_admin.access.people import person_make
from relay_admin.access.roles import Role
from relay_admin.catalog.models import Project
from relay_admin.content_policy import STRICT_POLICY
from tests.admin import rows

HOME = "/portal/projects/shop/"


def person(name: str) -> User:
    """A customer."""
    return person_make(address=f"{name}@example.test", password=rows.PASSWORD, is_verified=True)


def member(project: Project, role: Role | str, name: str = "") -> Client:
    """Somebody signed in who has a role there."""
    user = person(name or str(role))
    Membership.objects.create(project=project, user=user, role=str(role))
    client = Client()
    client.force_login(user)
    return client


def said(answer) -> str:
    """A page without what differs each time."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())


@pytest.mark.parametrize("role", list(Role))
def test_a_member_sees_the_project(catalog: rows.Catalog, role: Role) -> None:
    client = member(catalog.project, role)
    assert HOME in said(client.get("/portal/"))
    answer = client.get(HOME)
    assert (answer.status_code, answer["Content-Security-Policy"]) == (200, STRICT_POLICY)


def test_a_strangers_project_is_as_none(catalog: rows.Catalog) -> None:
    client = Client()
    client.force_login(person("stranger"))
    assert "No project yet" in said(client.get("/portal/"))
    theirs, nobodys = client.get(HOME), client.get("/portal/projects/nope/")
    assert (theirs.status_code, said(theirs)) == (404, said(nobodys))


def test_an_archived_project_is_none(catalog: rows.Catalog) -> None:
    client = member(catalog.project, "owner")
    Project.objects.update(is_archived=True)
    assert client.get(HOME).status_code == 404
    assert HOME not in said(client.get("/portal/"))


def test_who_is_not_signed_in_signs_in_first(catalog: rows.Catalog) -> None:
    answer = Client().get(HOME)
    assert (answer.status_code, answer["Location"]) == (302, "/account/sign-in?next=%2Fportal%2Fprojects%2Fshop%2F")
