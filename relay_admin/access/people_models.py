"""Who belongs to which project, and who is asked to."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q

from relay_admin.access.roles import Role
from relay_admin.catalog.models import Project, choices


class Membership(models.Model):
    """Somebody's role in a project. What a role may do is in `roles.py`."""

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
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    class Meta:
        db_table = "access_membership"
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
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.project.slug}"


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
