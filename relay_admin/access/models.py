"""People and the bearers they mint: users, relay keys for apps, admin tokens for the control API."""

from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models

from relay_admin.catalog import validators
from relay_admin.catalog.models import Policy, Project, RateLimit, choices
from relay_contract import nouns


class User(AbstractUser):
    """A person who signs in to the control plane."""

    email = models.EmailField(unique=True)

    class Meta(AbstractUser.Meta):
        db_table = "access_user"


class RelayKey(models.Model):
    """The bearer of an app. The token is shown once, when it is minted; only its SHA-256 is stored."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="relay_keys")
    name = models.CharField(max_length=100)
    mode = models.CharField(max_length=8, choices=choices(nouns.KeyMode), default=nouns.KeyMode.LIVE)
    key_id = models.CharField(max_length=12, unique=True, editable=False, help_text="The public part of the token.")
    token_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = ArrayField(
        models.CharField(max_length=16, choices=choices(nouns.Scope)),
        help_text="relay: POST /r/...; inference: /v1/...",
    )
    policy = models.ForeignKey(
        Policy, models.PROTECT, null=True, blank=True, help_text="Without one the key reaches no model."
    )
    rate_limit = models.ForeignKey(RateLimit, models.PROTECT, null=True, blank=True)
    user = models.ForeignKey(
        User,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="relay_keys",
        help_text="Whose key it is: a policy may limit each user.",
    )
    captures_payloads = models.BooleanField(
        "capture payloads",
        default=False,
        help_text="Keep what this key sends and receives, redacted, for the days that the settings say.",
    )
    allowed_networks = ArrayField(
        models.CharField(max_length=43),
        blank=True,
        default=list,
        db_default=[],
        validators=[validators.allowed_networks],
        help_text="Networks that it may be used from, e.g. 192.0.2.0/24, by comma. Empty: any address.",
    )
    has_successor = models.BooleanField(default=False, db_default=False, editable=False)
    successor = models.OneToOneField(
        "self", models.SET_NULL, null=True, blank=True, editable=False, related_name="predecessor"
    )
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="In UTC. It works for 24 hours more, and answers say so. Empty: never."
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    class Meta:
        db_table = nouns.RelayKey.table
        ordering = ["project__slug", "name", "id"]
        verbose_name = "relay key"
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="access_relaykey_name_once")]

    def __str__(self) -> str:
        return f"{self.project.slug}/{self.name}"

    @property
    def ends_at(self) -> datetime | None:
        """When the edges refuse it, as they reckon it; None: never."""
        if self.expires_at is None or self.has_successor:
            return self.expires_at
        return self.expires_at + timedelta(seconds=nouns.KEY_GRACE_SECONDS)

    def state(self, now: datetime) -> str:
        """`active`, `expiring` (works for a last while), `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is None or self.ends_at is None:
            return "active"
        if self.ends_at <= now:
            return "expired"
        return "expiring" if self.has_successor or self.expires_at <= now else "active"


class AdminToken(models.Model):
    """A bearer for the control API. It acts as its user, and dies with the user's account."""

    user = models.ForeignKey(User, models.CASCADE, related_name="admin_tokens")
    name = models.CharField(max_length=100)
    token_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    class Meta:
        db_table = "access_admintoken"
        ordering = ["user", "name"]
        verbose_name = "admin token"
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="access_admintoken_name_once")]

    def __str__(self) -> str:
        return f"{self.user.username}/{self.name}"


class LoginAttempts(models.Model):
    """Sign-ins of one name from one address since the last that succeeded. See `throttle.py`; nobody looks at these."""

    key = models.BinaryField(primary_key=True, max_length=32, help_text="SHA-256: a password may be typed as a name.")
    count = models.IntegerField()
    allowed_at = models.DateTimeField(help_text="No earlier is a password looked at.")
    last_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "access_loginattempts"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.count} attempts"
