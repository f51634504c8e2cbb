from typing import Any

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import oauth2_provider.models
from django.apps import apps as installed
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations, models

import relay_admin.access.oauth.client_ids
import relay_contract.nouns
from relay_admin.access.audit_triggers import audited
from relay_admin.catalog.triggers import notify_on_change

RIGHTS = {
    "operators": (
        *(f"{verb}_oauthapplication" for verb in ("view", "add", "change", "delete")),
        "view_authorization",
        "delete_authorization",
    ),
    "support": ("view_oauthapplication", "view_authorization"),
    "viewers": ("view_oauthapplication",),
}

END_TOKENS = """
    CREATE FUNCTION access_user_end_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE access_refreshtoken SET revoked = clock_timestamp() WHERE user_id = NEW.id AND revoked IS NULL;
        DELETE FROM access_grant WHERE user_id = NEW.id;
        INSERT INTO access_revocation (kind, value, issued_before, expires_at)
            VALUES ('user', NEW.id::text, clock_timestamp(), clock_timestamp() + interval '660 seconds');
        RETURN NULL;
    END $$;
    CREATE TRIGGER access_user_end_tokens AFTER UPDATE OF password, is_active ON access_user
        FOR EACH ROW WHEN (OLD.password <> NEW.password OR OLD.is_active AND NOT NEW.is_active)
        EXECUTE FUNCTION access_user_end_tokens();
"""
KEEP_TOKENS = """
    DROP TRIGGER access_user_end_tokens ON access_user;
    DROP FUNCTION access_user_end_tokens();
"""


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("access"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for group in group_model.objects.filter(name__in=RIGHTS):
        wanted = permission_model.objects.filter(content_type__app_label="access", codename__in=RIGHTS[group.name])
        group.permissions.add(*wanted)


class Migration(migrations.Migration):
    """The authorization server's tables; applications, signing keys and revocations announce themselves to the edges."""

    # Its models are swapped for these, which have to be there when its own speak of them.
    run_before = [("oauth2_provider", "0001_initial")]
    dependencies = [
        ("access", "0013_accounts"),
        ("catalog", "0008_unpriced"),
    ]

    operations = [
        migrations.CreateModel(
            name="Revocation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("jti", "jti"), ("grant", "grant"), ("user", "user"), ("application", "application")],
                        max_length=12,
                    ),
                ),
                ("value", models.CharField(help_text="The jti, or the id of what it is about.", max_length=32)),
                ("issued_before", models.DateTimeField()),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "db_table": "access_revocation",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="SigningKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kid", models.CharField(help_text="Its thumbprint (RFC 7638).", max_length=43, unique=True)),
                ("public_der", models.BinaryField()),
                (
                    "sealed_private",
                    models.BinaryField(help_text="PKCS #8 in DER, in base64, sealed."),
                ),
                ("activates_at", models.DateTimeField()),
                (
                    "retires_at",
                    models.DateTimeField(help_text="From then on nothing that it signed is alive.", null=True),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "access_signingkey",
                "ordering": ["-activates_at"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Authorization",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=32), size=None),
                ),
                (
                    "cap_microcredits",
                    models.BigIntegerField(
                        help_text="What it may spend in a calendar month (UTC); none: what the wallet holds.", null=True
                    ),
                ),
                ("granted_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="authorizations",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "access_authorization",
                "ordering": ["-granted_at", "-id"],
                "default_permissions": ("view", "delete"),
            },
        ),
        migrations.CreateModel(
            name="OAuthApplication",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("created", models.DateTimeField(auto_now_add=True, verbose_name="created")),
                ("updated", models.DateTimeField(auto_now=True, verbose_name="updated")),
                ("name", models.CharField(help_text="Users read it where they are asked.", max_length=100)),
                (
                    "homepage",
                    models.CharField(
                        blank=True,
                        help_text="Users may look there who is asking, e.g. https://app.example.",
                        max_length=200,
                        validators=[django.core.validators.URLValidator(["https", "http"])],
                    ),
                ),
                (
                    "client_id",
                    models.CharField(
                        default=relay_admin.access.oauth.client_ids.client_id_new,
                        editable=False,
                        max_length=100,
                        unique=True,
                        verbose_name="client id",
                    ),
                ),
                (
                    "client_secret",
                    models.CharField(
                        blank=True,
                        default="",
                        editable=False,
                        help_text="SHA-256 of the secret, in hex.",
                        max_length=64,
                    ),
                ),
                (
                    "client_type",
                    models.CharField(
                        choices=[
                            ("public", "public: runs where its users can read it (browser, phone, desktop)"),
                            ("confidential", "confidential: runs on a server that keeps a secret"),
                        ],
                        default="public",
                        max_length=32,
                    ),
                ),
                (
                    "authorization_grant_type",
                    models.CharField(
                        choices=[
                            ("authorization-code", "authorization code"),
                            (
                                "urn:ietf:params:oauth:grant-type:device_code",
                                "device code: for programs without a browser",
                            ),
                        ],
                        default="authorization-code",
                        max_length=44,
                        verbose_name="flow",
                    ),
                ),
                (
                    "redirect_uris",
                    models.TextField(
                        blank=True,
                        help_text="Where users go back to, one a line. An application asks with exactly one of these.",
                        verbose_name="redirect URIs",
                    ),
                ),
                (
                    "allowed_origins",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=300),
                        blank=True,
                        default=list,
                        help_text="Web pages that may call with its tokens, e.g. https://app.example, by comma.",
                        size=None,
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[("live", "live"), ("test", "test")],
                        default=relay_contract.nouns.KeyMode["LIVE"],
                        max_length=8,
                    ),
                ),
                ("is_enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "captures_payloads",
                    models.BooleanField(
                        default=False,
                        help_text="Keep what its tokens send and receive, redacted, for the days that the settings say.",
                        verbose_name="capture payloads",
                    ),
                ),
                (
                    "policy",
                    models.ForeignKey(
                        blank=True,
                        help_text="Without one its tokens reach no model.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="catalog.policy",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="applications", to="catalog.project"
                    ),
                ),
                (
                    "rate_limit",
                    models.ForeignKey(
                        blank=True,
                        help_text="Of the application, all its users together.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="catalog.ratelimit",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="applications",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "application",
                "db_table": "access_oauthapplication",
                "ordering": ["project__slug", "name", "id"],
            },
        ),
        migrations.CreateModel(
            name="Grant",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("expires", models.DateTimeField(verbose_name="expires")),
                ("redirect_uri", models.TextField(verbose_name="redirect URI")),
                ("scope", models.TextField(blank=True, verbose_name="scope")),
                ("created", models.DateTimeField(auto_now_add=True, verbose_name="created")),
                ("updated", models.DateTimeField(auto_now=True, verbose_name="updated")),
                (
                    "code_challenge",
                    models.CharField(blank=True, default="", max_length=128, verbose_name="code challenge"),
                ),
                (
                    "code_challenge_method",
                    models.CharField(
                        blank=True,
                        choices=[("plain", "plain"), ("S256", "S256")],
                        default="",
                        max_length=10,
                        verbose_name="code challenge method",
                    ),
                ),
                ("code", models.CharField(help_text="SHA-256 of the code, in hex.", max_length=64, unique=True)),
                ("family", models.UUIDField(help_text="Of the refresh tokens that come of it.")),
                ("used_at", models.DateTimeField(null=True)),
                (
                    "authorization",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="access.authorization"),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="%(app_label)s_%(class)s",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.OAUTH2_PROVIDER_APPLICATION_MODEL,
                        verbose_name="application",
                    ),
                ),
            ],
            options={
                "db_table": "access_grant",
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="authorization",
            name="application",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="authorizations",
                to=settings.OAUTH2_PROVIDER_APPLICATION_MODEL,
            ),
        ),
        migrations.CreateModel(
            name="AccessToken",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("token", models.TextField(verbose_name="token")),
                (
                    "token_checksum",
                    oauth2_provider.models.TokenChecksumField(
                        db_index=True, max_length=64, unique=True, verbose_name="token checksum"
                    ),
                ),
                ("expires", models.DateTimeField(verbose_name="expires")),
                ("scope", models.TextField(blank=True, verbose_name="scope")),
                ("created", models.DateTimeField(auto_now_add=True, verbose_name="created")),
                ("updated", models.DateTimeField(auto_now=True, verbose_name="updated")),
                ("jti", models.CharField(max_length=32, unique=True)),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="%(app_label)s_%(class)s",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
                (
                    "authorization",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="access.authorization"),
                ),
                (
                    "application",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.OAUTH2_PROVIDER_APPLICATION_MODEL,
                        verbose_name="application",
                    ),
                ),
            ],
            options={
                "db_table": "access_accesstoken",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="RefreshToken",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("token", models.TextField(verbose_name="token")),
                (
                    "token_checksum",
                    oauth2_provider.models.TokenChecksumField(max_length=64, verbose_name="token checksum"),
                ),
                ("scope", models.TextField(help_text="What may be asked with it, whatever was asked last.")),
                ("token_family", models.UUIDField(blank=True, editable=False, null=True, verbose_name="token family")),
                ("created", models.DateTimeField(auto_now_add=True, verbose_name="created")),
                ("updated", models.DateTimeField(auto_now=True, verbose_name="updated")),
                ("revoked", models.DateTimeField(null=True, verbose_name="revoked")),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.OAUTH2_PROVIDER_APPLICATION_MODEL,
                        verbose_name="application",
                    ),
                ),
                (
                    "authorization",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="access.authorization"),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="%(app_label)s_%(class)s",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "db_table": "access_refreshtoken",
                "default_permissions": (),
            },
        ),
        migrations.AddConstraint(
            model_name="oauthapplication",
            constraint=models.UniqueConstraint(fields=("project", "name"), name="access_oauthapplication_name_once"),
        ),
        migrations.AddConstraint(
            model_name="authorization",
            constraint=models.UniqueConstraint(fields=("user", "application"), name="access_authorization_once"),
        ),
        migrations.AddConstraint(
            model_name="authorization",
            constraint=models.CheckConstraint(
                condition=models.Q(("cap_microcredits__isnull", True), ("cap_microcredits__gte", 0), _connector="OR"),
                name="access_authorization_cap",
            ),
        ),
        migrations.AddIndex(
            model_name="refreshtoken",
            index=models.Index(fields=["token_family"], name="access_refr_token_f_c85feb_idx"),
        ),
        migrations.AlterUniqueTogether(
            name="refreshtoken",
            unique_together={("token_checksum", "revoked")},
        ),
        notify_on_change("access_oauthapplication"),
        notify_on_change("access_signingkey"),
        notify_on_change("access_revocation"),
        audited(
            "access_oauthapplication",
            "access.oauthapplication",
            project="project_id",
            hidden=("client_secret",),
            ignored=("created", "updated"),
        ),
        audited("access_authorization", "access.authorization"),
        audited("access_signingkey", "access.signingkey"),
        audited("access_revocation", "access.revocation"),
        migrations.RunSQL(END_TOKENS, KEEP_TOKENS),
        migrations.RunPython(widen_groups, migrations.RunPython.noop),
    ]
