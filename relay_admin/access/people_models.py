"""Who belongs to which project, and who is asked to."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from relay_admin.access.roles import Role
from relay_admin.catalog import validators
from relay_admin.catalog.models import Project, choices
from relay_contract import nouns


class Membership(models.Model):
    """Somebody's role in a project, and what they may spend there. What a role may do is in `roles.py`."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=choices(Role))
    referrer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="brought",
        help_text="Who brought this customer, and has a share of what they earn the project. Never changes.",
    )
    has_own_budget = models.BooleanField(
        "own budget",
        default=False,
        db_default=False,
        help_text="Theirs is not the project's budget for each user, but the one beside; that may be none.",
    )
    budget = models.JSONField(null=True, blank=True, help_text="What they may spend in a day, week or month, UTC.")
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    class Meta:
        db_table = nouns.Membership.table
        ordering = ["project__slug", "user__username"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "user"],
                name="access_membership_once",
                violation_error_message="They are a member of this project already.",
            ),
            models.UniqueConstraint(
                fields=["project"],
                condition=Q(role=str(Role.OWNER)),
                name="access_membership_one_owner",
                violation_error_message="This project has an owner already.",
            ),
            models.CheckConstraint(
                condition=Q(referrer=None) | ~Q(referrer=models.F("user")),
                name="access_membership_no_self_referral",
                violation_error_message="Nobody brings themselves.",
            ),
            models.CheckConstraint(
                condition=Q(budget=None) | Q(has_own_budget=True),
                name="access_membership_own_budget",
                violation_error_message="For a budget of their own, say that they have one.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.project.slug}"

    def clean(self) -> None:
        """What they may spend has to be a budget."""
        super().clean()
        validators.budget(self.budget)

    @property
    def user_budget(self) -> dict[str, Any] | None:
        """What they may spend in the project, as stored: their own budget, else what it gives each user."""
        return self.budget if self.has_own_budget else self.project.user_budget


class Invitation(models.Model):
    """A link that somebody was sent: to a project, or without one to sign up only. It is shown once; only the SHA-256
    of its token is stored. It can be accepted once, until it expires."""

    project = models.ForeignKey(Project, models.CASCADE, null=True, blank=True, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=16, choices=choices(Role), blank=True, help_text="Empty without a project.")
    token_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="invitations"
    )
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    class Meta:
        db_table = "access_invitation"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(project=None, role="") | Q(project__isnull=False) & ~Q(role__in=("", str(Role.OWNER))),
                name="access_invitation_role_of_project",
                violation_error_message="To a project it has a role, other than owner; without one it has none.",
            )
        ]

    def __str__(self) -> str:
        return f"invitation of {self.email}"

    def is_open(self, now: datetime) -> bool:
        """Whether it can be accepted."""
        return self.accepted_at is None and self.expires_at > now
