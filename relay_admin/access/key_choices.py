"""What a member may give a key: operators decide which models a project reaches, and at whose expense, so a member
chooses of the policies and rate limits that a key of the project has."""

from django.db.models import QuerySet

from relay_admin.catalog.models import Policy, Project, RateLimit


def policies_of(project: Project) -> QuerySet[Policy]:
    """By slug."""
    keys = project.relay_keys.filter(revoked_at=None)
    return Policy.objects.filter(pk__in=keys.values("policy")).order_by("slug")


def rate_limits_of(project: Project) -> QuerySet[RateLimit]:
    """By slug."""
    keys = project.relay_keys.filter(revoked_at=None)
    return RateLimit.objects.filter(pk__in=keys.values("rate_limit")).order_by("slug")
