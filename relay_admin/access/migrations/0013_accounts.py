import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from relay_admin.access.audit_triggers import audited

# Whoever changes it, and by whatever: the admin, a command, SQL.
FORGET_PROOF = """
    CREATE FUNCTION access_user_forget_proof() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.email_verified_at IS NOT DISTINCT FROM OLD.email_verified_at THEN
            NEW.email_verified_at := NULL;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER access_user_forget_proof BEFORE UPDATE OF email ON access_user
        FOR EACH ROW WHEN (lower(OLD.email) <> lower(NEW.email)) EXECUTE FUNCTION access_user_forget_proof();

    CREATE FUNCTION access_user_end_tickets() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM access_ticket WHERE user_id = NEW.id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER access_user_end_tickets AFTER UPDATE OF password, email, is_active ON access_user
        FOR EACH ROW WHEN (
            OLD.password <> NEW.password OR OLD.email <> NEW.email OR OLD.is_active AND NOT NEW.is_active
        ) EXECUTE FUNCTION access_user_end_tickets();
"""
KEEP_PROOF = """
    DROP TRIGGER access_user_end_tickets ON access_user;
    DROP FUNCTION access_user_end_tickets();
    DROP TRIGGER access_user_forget_proof ON access_user;
    DROP FUNCTION access_user_forget_proof();
"""


class Migration(migrations.Migration):
    """Links that are good once, mails that are to be sent, and whom an OpenID Connect provider knows."""

    dependencies = [
        ("access", "0012_people"),
    ]

    operations = [
        migrations.CreateModel(
            name="Mail",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("sign_up", "Sign Up"),
                            ("reset", "Reset"),
                            ("verify", "Verify"),
                            ("invitation", "Invitation"),
                            ("changed_password", "Changed Password"),
                            ("changed_address", "Changed Address"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "address",
                    models.EmailField(
                        help_text="As typed: a mail to somebody known goes to the address that is theirs.",
                        max_length=254,
                    ),
                ),
                (
                    "sealed_token",
                    models.BinaryField(help_text="Of an invitation: its token, which is kept nowhere else.", null=True),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("next_attempt_at", models.DateTimeField(db_index=True)),
                ("tries", models.IntegerField(default=0)),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"db_table": "access_mail", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Ticket",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "purpose",
                    models.CharField(
                        choices=[("sign_up", "Sign Up"), ("reset", "Reset"), ("verify", "Verify")], max_length=16
                    ),
                ),
                ("address", models.EmailField(help_text="Where it was sent.", max_length=254)),
                ("token_hash", models.BinaryField(max_length=32, unique=True)),
                ("expires_at", models.DateTimeField(db_index=True)),
                (
                    "user",
                    models.ForeignKey(
                        help_text="None: not yet anybody.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"db_table": "access_ticket", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="ExternalIdentity",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("issuer", models.CharField(max_length=255)),
                ("subject", models.CharField(max_length=255)),
                (
                    "email",
                    models.EmailField(help_text="What the provider said when it was linked.", max_length=254),
                ),
                ("linked_at", models.DateTimeField(auto_now_add=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="external_identities",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "external identities",
                "db_table": "access_externalidentity",
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=("issuer", "subject"), name="access_externalidentity_once")
                ],
            },
        ),
        audited("access_externalidentity", "access.externalidentity"),
        migrations.RunSQL(FORGET_PROOF, KEEP_PROOF),
    ]
