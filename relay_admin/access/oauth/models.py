"""What the authorization server stores: applications, what users allowed them, codes, tokens, keys, revocations.

Subclasses of django-oauth-toolkit's abstract models; a field of theirs that is None here is left out. No code, token or
client secret is stored: of each, its SHA-256.
"""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import URLValidator
from django.db import models
from oauth2_provider.models import (
    AbstractAccessToken,
    AbstractApplication,
    AbstractGrant,
    AbstractRefreshToken,
)
from oauthlib.common import Request

from relay_admin.access.oauth import addresses
from relay_admin.access.oauth.client_ids import client_id_new
from relay_admin.catalog.models import Policy, Project, RateLimit, choices
from relay_contract import nouns

CLIENT_TYPES = (
    (AbstractApplication.CLIENT_PUBLIC, "public: runs where its users can read it (browser, phone, desktop)"),
    (AbstractApplication.CLIENT_CONFIDENTIAL, "confidential: runs on a server that keeps a secret"),
)
GRANT_TYPES = (
    (AbstractApplication.GRANT_AUTHORIZATION_CODE, "authorization code"),
    (AbstractApplication.GRANT_DEVICE_CODE, "device code: for programs without a browser"),
)


class OAuthApplication(AbstractApplication, models.Model):
    """A program that asks users of the relay for leave to call models at their expense."""

    post_logout_redirect_uris = None
    algorithm = None
    registration_source = None
    cimd_expires_at = None
    skip_authorization = None
    hash_client_secret = None
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="applications"
    )
    project = models.ForeignKey(Project, models.CASCADE, related_name="applications")
    name = models.CharField(max_length=100, help_text="Users read it where they are asked.")
    homepage = models.CharField(
        max_length=200,
        blank=True,
        validators=[URLValidator(["https", "http"])],
        help_text="Users may look there who is asking, e.g. https://app.example.",
    )
    client_id = models.CharField("client id", max_length=100, unique=True, default=client_id_new, editable=False)
    client_secret = models.CharField(
        max_length=64, blank=True, default="", editable=False, help_text="SHA-256 of the secret, in hex."
    )
    client_type = models.CharField(max_length=32, choices=CLIENT_TYPES, default=AbstractApplication.CLIENT_PUBLIC)
    authorization_grant_type = models.CharField(
        "flow", max_length=44, choices=GRANT_TYPES, default=AbstractApplication.GRANT_AUTHORIZATION_CODE
    )
    redirect_uris = models.TextField(
        "redirect URIs",
        blank=True,
        help_text="Where users go back to, one a line. An application asks with exactly one of these.",
    )
    allowed_origins = ArrayField(
        models.CharField(max_length=300),
        blank=True,
        default=list,
        help_text="Web pages that may call with its tokens, e.g. https://app.example, by comma.",
    )
    mode = models.CharField(max_length=8, choices=choices(nouns.KeyMode), default=nouns.KeyMode.LIVE)
    is_enabled = models.BooleanField("enabled", default=True)
    policy = models.ForeignKey(
        Policy, models.PROTECT, null=True, blank=True, help_text="Without one its tokens reach no model."
    )
    rate_limit = models.ForeignKey(
        RateLimit, models.PROTECT, null=True, blank=True, help_text="Of the application, all its users together."
    )
    captures_payloads = models.BooleanField(
        "capture payloads",
        default=False,
        help_text="Keep what its tokens send and receive, redacted, for the days that the settings say.",
    )

    class Meta:
        db_table = nouns.Application.table
        ordering = ["project__slug", "name", "id"]
        verbose_name = "application"
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="access_oauthapplication_name_once")]

    def __str__(self) -> str:
        return f"{self.project.slug}/{self.name}"

    def clean(self) -> None:
        """Raises ValidationError by field."""
        addresses.application_check(self)

    def is_usable(self, request: Request | None = None) -> bool:  # noqa: ARG002  # the toolkit's
        """Whether anything is issued to it now."""
        return self.is_enabled and not self.project.is_archived

    def redirect_uri_allowed(self, uri: str) -> bool:
        """Equal as text: of two that only mean the same, one may be read as another by a browser."""
        return uri in self.redirect_uris.split()


class Authorization(models.Model):
    """What a user allows an application. Revoked, it stays: consent given again renews it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="authorizations")
    application = models.ForeignKey(OAuthApplication, models.CASCADE, related_name="authorizations")
    scopes = ArrayField(models.CharField(max_length=32))
    cap_microcredits = models.BigIntegerField(
        null=True, help_text="What it may spend in a calendar month (UTC); none: what the wallet holds."
    )
    granted_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "access_authorization"
        ordering = ["-granted_at", "-id"]
        default_permissions = ("view", "delete")
        constraints = [
            models.UniqueConstraint(fields=["user", "application"], name="access_authorization_once"),
            models.CheckConstraint(
                condition=models.Q(cap_microcredits__isnull=True) | models.Q(cap_microcredits__gte=0),
                name="access_authorization_cap",
            ),
        ]

    def __str__(self) -> str:
        return f"authorization {self.pk}"


class Grant(AbstractGrant, models.Model):
    """An authorization code. Used, it stays a while, so that a second use is known for what it is."""

    nonce = None
    claims = None
    resource = None
    code = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the code, in hex.")
    authorization = models.ForeignKey(Authorization, models.CASCADE)
    family = models.UUIDField(help_text="Of the refresh tokens that come of it.")
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "access_grant"
        default_permissions = ()


class AccessToken(AbstractAccessToken, models.Model):
    """An access token that was issued. The edges never look here: it is read by its signature."""

    id_token = None
    resource = None
    source_refresh_token = None
    jti = models.CharField(max_length=32, unique=True)
    authorization = models.ForeignKey(Authorization, models.CASCADE)

    class Meta:
        db_table = "access_accesstoken"
        default_permissions = ()


class RefreshToken(AbstractRefreshToken, models.Model):
    """A refresh token; one that was used is revoked and stays, so that a second use is known for what it is."""

    resource = None
    access_token = None
    authorization = models.ForeignKey(Authorization, models.CASCADE)
    scope = models.TextField(help_text="What may be asked with it, whatever was asked last.")

    class Meta(AbstractRefreshToken.Meta):
        db_table = "access_refreshtoken"
        default_permissions = ()


class SigningKey(models.Model):
    """A key that access tokens are signed with. See `keys.py`."""

    kid = models.CharField(max_length=43, unique=True, help_text="Its thumbprint (RFC 7638).")
    public_der = models.BinaryField()
    sealed_private = models.BinaryField(help_text="PKCS #8 in DER, in base64, sealed.")
    activates_at = models.DateTimeField()
    retires_at = models.DateTimeField(null=True, help_text="From then on nothing that it signed is alive.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = nouns.SigningKey.table
        ordering = ["-activates_at"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.kid


class Revocation(models.Model):
    """Access tokens that are refused although they are signed and young. Kept as long as such a token lives."""

    kind = models.CharField(max_length=12, choices=choices(nouns.RevocationKind))
    value = models.CharField(max_length=32, help_text="The jti, or the id of what it is about.")
    issued_before = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = nouns.Revocation.table
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"
