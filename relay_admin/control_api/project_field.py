"""A project that is named in a query or body: one of the caller's, and no other."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from relay_admin.access.roles import Act
from relay_admin.access.scoping import rows_of
from relay_admin.catalog.models import Project


class ProjectField(serializers.SlugRelatedField):
    """By slug. A stranger's is refused as one that does not exist. `wire.read` has to be given the actor."""

    def __init__(self, act: Act, **options: Any) -> None:
        super().__init__("slug", **options)
        self.act = act

    def get_queryset(self) -> QuerySet[Project]:
        """Those on which the caller may do it."""
        return rows_of(Project, self.context["actor"], self.act)
