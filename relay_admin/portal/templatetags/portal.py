"""For `templates/portal/base.html`: whose projects, and which sections of one. One query on each page of theirs."""

from typing import Any

from django import template
from django.http import HttpRequest

from relay_admin.access.models import Membership, User
from relay_admin.access.roles import Role
from relay_admin.catalog.credit_fields import budget_in_words
from relay_admin.ledger.amounts import credits_text
from relay_admin.portal.sections import SECTIONS, Section

register = template.Library()
MOST_SWITCHED = 50
"""Projects that the switcher lists; the page of all has the others."""


@register.simple_tag
def memberships_of(user: User) -> list[Membership]:
    """Those in projects that are not archived, by the project's name."""
    mine = Membership.objects.filter(user=user, project__is_archived=False)
    return list(mine.select_related("project").order_by("project__name", "project__slug")[:MOST_SWITCHED])


@register.simple_tag
def sections_of(role: Role) -> list[Section]:
    """Those that the role opens."""
    return [section for section in SECTIONS if section.is_open_to(role)]


@register.simple_tag
def is_here(request: HttpRequest, section: Section) -> bool:
    """Whether the page is one of the section's: its view's name is the section's, or begins with it and a dash."""
    name = (request.resolver_match.url_name if request.resolver_match else None) or ""
    return any(name == known or name.startswith(f"{known}-") for known in (section.name, *section.also))


@register.filter
def in_words(budget: dict[str, Any] | None) -> str:
    """A stored budget, such as `5 credits a month`."""
    return budget_in_words(budget)


@register.filter
def as_credits(microcredits: int) -> str:
    """Such as `1,234.5`."""
    return credits_text(microcredits)
