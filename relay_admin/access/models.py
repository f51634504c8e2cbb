"""People and the bearers they mint: users, relay keys for apps, admin tokens for the control API."""

from datetime import date, datetime, timedelta

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import MD5, Cast, Lower, Substr
from django.utils import timezone

from relay_admin.access.acting import Via
from relay_admin.access.oauth.scopes import CONTROL
from relay_admin.access.people_models import Invitation, Membership
from relay_admin.access.token_scopes import SCOPES
from relay_admin.catalog import validators
from relay_admin.catalog.models import Policy, Project, RateLimit, choices
from relay_contract import nouns

__all__ = [
    "AUDITED_ACTIONS",
    "AdminToken",
    "AuditEvent",
    "Invitation",
    "LoginAttempts",
    "Membership",
    "RelayKey",
    "Session",
    "User",
]

MAX_ROTATES_DAYS = 90


def every_scope() -> list[str]:
    """Of a token that nobody narrows."""
    return [CONTROL]


class User(AbstractUser):
    """A person who signs in to the control plane, by name or by address."""

    email = models.EmailField()
    email_verified_at = models.DateTimeField(null=True, blank=True, editable=False)
    live_wallet_id = models.BigIntegerField(editable=False, default=0, db_default=0)
    test_wallet_id = models.BigIntegerField(editable=False, default=0, db_default=0)
    referral_code = models.CharField(
        max_length=12,
        unique=True,
        editable=False,
        db_default=Substr(MD5(Cast(RandomUUID(), models.CharField())), 1, 12),
        help_text="Whoever first allows an application with it in the address was brought by this user.",
    )

    class Meta(AbstractUser.Meta):
        db_table = "access_user"
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="access_user_email_once",
                violation_error_message="Somebody has this email address already.",
            )
        ]


class RelayKey(models.Model):
    """The bearer of an app. The token is shown once, when it is minted; only its SHA-256 is stored."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="relay_keys")
    name = models.CharField(max_length=100)
    mode = models.CharField(max_length=8, choices=choices(nouns.KeyMode), default=nouns.KeyMode.LIVE)
    key_id = models.CharField(max_length=12, unique=True, editable=False, help_text="The public part of the token.")
    token_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = ArrayField(
        models.CharField(max_length=16, choices=choices(nouns.Scope)),
        help_text="relay: POST /r/...; inference: /v1/...; control: the control API, of its project.",
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
    successor_waits = models.BooleanField(default=False, db_default=False, editable=False)
    sealed_successor_token = models.BinaryField(
        default=b"", db_default=b"", editable=False, help_text="Until it was read, once."
    )
    rotates_days_before = models.SmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_ROTATES_DAYS)],
        help_text="A successor is made by itself so many days before it expires. Its holder reads it with the key.",
    )
    pays = models.CharField(
        max_length=8,
        choices=choices(nouns.Payer),
        default=nouns.Payer.PROJECT.value,
        db_default=nouns.Payer.PROJECT.value,
        help_text="Whose wallet its calls are charged to.",
    )
    wallet_id = models.BigIntegerField(null=True, editable=False, help_text="The user's, where the user pays.")
    payer_is_active = models.BooleanField(
        default=True, db_default=True, editable=False, help_text="No: its user pays for it, and is deactivated."
    )
    budget = models.JSONField(null=True, blank=True, help_text="What it may spend in a day, week or month, UTC.")
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
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="access_relaykey_name_once"),
            models.CheckConstraint(
                name="access_relaykey_payer",
                condition=~models.Q(pays=nouns.Payer.USER.value) | models.Q(wallet_id__isnull=False),
                violation_error_message="A key that its user pays for has a user.",
            ),
            models.CheckConstraint(
                name="access_relaykey_deliveries",
                condition=~models.Q(pays=nouns.Payer.USER.value, scopes__contains=[nouns.Scope.RELAY.value]),
                violation_error_message="A key that its user pays for has no scope relay: the project pays deliveries.",
            ),
            models.CheckConstraint(
                name="access_relaykey_waits",
                condition=models.Q(successor_waits=False, sealed_successor_token=b"")
                | models.Q(successor_waits=True, has_successor=True) & ~models.Q(sealed_successor_token=b""),
            ),
            models.CheckConstraint(
                name="access_relaykey_rotates",
                condition=models.Q(rotates_days_before=None)
                | models.Q(rotates_days_before__range=(1, MAX_ROTATES_DAYS), expires_at__isnull=False),
                violation_error_message="A key that is rotated by itself expires.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project.slug}/{self.name}"

    def clean(self) -> None:
        """Where its user pays, the wallet is the user's own, of the key's mode."""
        super().clean()
        validators.budget(self.budget)
        self._check_rotation()
        self.wallet_id = self._users_wallet() if self.pays == nouns.Payer.USER else None

    def _check_rotation(self) -> None:
        if self.rotates_days_before is None:
            return
        if self.expires_at is None:
            raise ValidationError({"rotates_days_before": "A key that is rotated by itself expires."})
        made = self.created_at or timezone.now()
        if self.expires_at - made <= timedelta(days=self.rotates_days_before):
            raise ValidationError({"rotates_days_before": "It has to live for longer than that."})

    def _users_wallet(self) -> int:
        column = "live_wallet_id" if self.mode == nouns.KeyMode.LIVE else "test_wallet_id"
        if self.user_id is None:
            raise ValidationError({"pays": "Name the user who pays for this key."})
        # Asked anew: the wallets of a user who was just made are given by the database.
        wallet: int = User.objects.values_list(column, flat=True).get(pk=self.user_id)
        return wallet

    @property
    def last_used_on(self) -> date | None:
        """The day, UTC, of its last call in the usage hours. With `select_related("use")` no query of its own."""
        use = getattr(self, "use", None)
        return use.last_on if use else None

    @property
    def ends_at(self) -> datetime | None:
        """When the edges refuse it, as they reckon it; None: never."""
        if self.expires_at is None or self.has_successor:
            return self.expires_at
        return self.expires_at + timedelta(seconds=nouns.KEY_GRACE_SECONDS)

    def state(self, now: datetime) -> str:
        """`active`, `expiring` (works for a last while), `stopped` (its payer is deactivated), `expired`, `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.ends_at is not None and self.ends_at <= now:
            return "expired"
        if not self.payer_is_active:
            return "stopped"
        if self.expires_at is None:
            return "active"
        return "expiring" if self.has_successor or self.expires_at <= now else "active"


class AdminToken(models.Model):
    """A bearer for the control API. It acts as its user, within its scopes and projects, and dies with the user's
    account. What was made with it is no wider, and dies with it: the database deletes it (migration 0019)."""

    user = models.ForeignKey(User, models.CASCADE, related_name="admin_tokens")
    name = models.CharField(max_length=100)
    token_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = ArrayField(
        models.CharField(max_length=16, choices=[(scope, scope) for scope in SCOPES]),
        default=every_scope,
        db_default=[CONTROL],
        help_text="control: everything its user may; an area: that alone; with :read: to read it alone.",
    )
    # Ids, and no table between: a project that is deleted leaves its tokens as narrow as they were.
    project_ids = ArrayField(
        models.BigIntegerField(), null=True, blank=True, editable=False, help_text="None: every one of its user's."
    )
    parent = models.ForeignKey(
        "self",
        models.DO_NOTHING,
        null=True,
        blank=True,
        editable=False,
        related_name="children",
        db_constraint=False,
        help_text="The token that it was made with.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    class Meta:
        db_table = "access_admintoken"
        ordering = ["user", "name"]
        verbose_name = "admin token"
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="access_admintoken_name_once")]

    def __str__(self) -> str:
        return f"{self.user.username}/{self.name}"


class Session(models.Model):
    """Somebody's browser that is signed in. See `sessions.py`: of the cookie's key only the SHA-256 is stored.

    A trigger deletes a user's sessions when their password changes, the account is deactivated or staff is taken away.
    """

    key_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    data = models.TextField(editable=False)
    user = models.ForeignKey(User, models.CASCADE, null=True, editable=False, related_name="sessions")
    address = models.GenericIPAddressField(null=True, editable=False, help_text="Where it was seen last.")
    agent = models.CharField(max_length=200, editable=False, help_text="What the browser says of itself.")
    created_at = models.DateTimeField("signed in at", editable=False)
    seen_at = models.DateTimeField("last seen at", editable=False, help_text="To the minute.")
    expires_at = models.DateTimeField(editable=False, db_index=True)

    class Meta:
        db_table = "access_session"
        ordering = ["-seen_at", "-id"]
        default_permissions = ("view", "delete")

    def __str__(self) -> str:
        return f"session {self.pk}"


class Purpose(models.TextChoices):
    """What somebody may do once with a link that was sent to them."""

    SIGN_UP = "sign_up"
    RESET = "reset"
    VERIFY = "verify"


class Ticket(models.Model):
    """What a link in a mail stands for, once and not for long. See `tickets.py`; of its token only the SHA-256 is kept.

    A trigger deletes a user's when their password or address changes or the account is deactivated.
    """

    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="+", help_text="None: not yet anybody.")
    address = models.EmailField(help_text="Where it was sent.")
    token_hash = models.BinaryField(max_length=32, unique=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "access_ticket"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.purpose} {self.pk}"


class ExternalIdentity(models.Model):
    """Somebody as the OpenID Connect provider knows them, who signs in with it as this user."""

    user = models.ForeignKey(User, models.CASCADE, related_name="external_identities")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    email = models.EmailField(help_text="What the provider said when it was linked.")
    linked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "access_externalidentity"
        default_permissions = ("view",)
        verbose_name_plural = "external identities"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="access_externalidentity_once")]

    def __str__(self) -> str:
        return f"{self.email} at {self.issuer}"


class MailKind(models.TextChoices):
    """What a mail says."""

    SIGN_UP = "sign_up"
    RESET = "reset"
    VERIFY = "verify"
    INVITATION = "invitation"
    CHANGED_PASSWORD = "changed_password"  # noqa: S105 (what a mail is about)
    CHANGED_ADDRESS = "changed_address"
    LOW_BALANCE = "low_balance"


class Mail(models.Model):
    """A mail that is to be sent. See `mails.py`: the worker that sends it writes it, and then this row is gone."""

    kind = models.CharField(max_length=20, choices=MailKind.choices)
    address = models.EmailField(help_text="As typed: a mail to somebody known goes to the address that is theirs.")
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="+")
    sealed_token = models.BinaryField(null=True, help_text="Of an invitation: its token, which is kept nowhere else.")
    account_id = models.BigIntegerField(null=True, help_text="The wallet that it is about.")
    created_at = models.DateTimeField(auto_now_add=True)
    next_attempt_at = models.DateTimeField(db_index=True)
    tries = models.IntegerField(default=0)

    class Meta:
        db_table = "access_mail"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class LoginAttempts(models.Model):
    """Sign-ins that failed: of one name from one address, or of all names from it. See `throttle.py`; nobody looks at
    these."""

    key = models.BinaryField(primary_key=True, max_length=32, help_text="SHA-256: a password may be typed as a name.")
    count = models.IntegerField()
    allowed_at = models.DateTimeField(help_text="No earlier is a password looked at.")
    last_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "access_loginattempts"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.count} attempts"


AUDITED_ACTIONS = ("insert", "update", "delete", "truncate")


class AuditEvent(models.Model):
    """One row that was made, changed or deleted. Written by triggers (`audit_triggers.py`), and only ever added to.

    Not managed by Django, so that not even `manage.py flush` empties it. No constraint leads out of it: it outlives
    what it speaks of.
    """

    at = models.DateTimeField()
    via = models.CharField(max_length=16, choices=choices(Via))
    actor_id = models.BigIntegerField(null=True, help_text="The user, if there was one.")
    actor_name = models.CharField(max_length=150, help_text="The user's name then; of SQL, the database's role.")
    tool = models.CharField(max_length=150, help_text="The admin token, command, task or program that was used.")
    address = models.GenericIPAddressField(null=True)
    project_id = models.BigIntegerField(null=True)
    action = models.CharField(
        max_length=16, choices=[(word, word) for word in ("insert", "update", "delete", "truncate")]
    )
    subject = models.CharField(max_length=40, help_text="The label of its model.")
    subject_id = models.BigIntegerField(null=True)
    subject_name = models.CharField(max_length=200)
    before = models.JSONField(null=True, help_text="Columns that changed, as they were.")
    after = models.JSONField(null=True, help_text="And as they are.")

    class Meta:
        managed = False
        db_table = "access_auditevent"
        ordering = ["-id"]
        verbose_name = "audit event"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.action} of {self.subject} {self.subject_name or self.subject_id}"


from relay_admin.access.oauth.models import (  # noqa: E402  # Django finds models here; these speak of a User
    AccessToken,
    Authorization,
    Grant,
    OAuthApplication,
    RefreshToken,
    Revocation,
    SigningKey,
)

__all__ = [
    "AUDITED_ACTIONS",
    "AccessToken",
    "AdminToken",
    "AuditEvent",
    "Authorization",
    "Grant",
    "LoginAttempts",
    "OAuthApplication",
    "RefreshToken",
    "RelayKey",
    "Revocation",
    "Session",
    "SigningKey",
    "User",
]
