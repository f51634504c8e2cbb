from typing import Any

from django.apps import apps as installed
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.core.management.base import CommandError
from django.db import migrations, models
from django.db.models import Count
from django.db.models.functions import Lower

END_SESSIONS = """
    CREATE FUNCTION access_user_end_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM access_session WHERE user_id = NEW.id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER access_user_end_sessions AFTER UPDATE OF password, is_active, is_staff ON access_user
        FOR EACH ROW WHEN (
            OLD.password <> NEW.password OR OLD.is_active AND NOT NEW.is_active OR OLD.is_staff AND NOT NEW.is_staff
        ) EXECUTE FUNCTION access_user_end_sessions();
"""
KEEP_SESSIONS = """
    DROP TRIGGER access_user_end_sessions ON access_user;
    DROP FUNCTION access_user_end_sessions();
"""
# The table itself stays: the version that is still running signs people in with it until it is replaced.
FORGET_OLD = """
    DO $$ BEGIN
        IF to_regclass('django_session') IS NOT NULL THEN DELETE FROM django_session; END IF;
    END $$;
"""


def refuse_shared_addresses(apps: Any, _schema_editor: Any) -> None:
    """Names them, where Postgres would name the first."""
    users = apps.get_model("access", "User").objects
    by_address = users.annotate(address=Lower("email")).order_by().values("address")
    shared = by_address.annotate(count=Count("pk")).filter(count__gt=1).values_list("address", flat=True)
    if shared:
        names = users.annotate(address=Lower("email")).filter(address__in=list(shared)).order_by("email")
        listed = ", ".join(f"{name} <{email}>" for name, email in names.values_list("username", "email"))
        raise CommandError(
            f"These users have the same email address but for its case: {listed}. An address signs in one person now:"
            " change the others (in the admin of the version before), and migrate again. Nothing was changed."
        )


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("access"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    wanted = permission_model.objects.filter(
        content_type__app_label="access", codename__in=("view_session", "delete_session")
    )
    for group in group_model.objects.filter(name="operators"):
        group.permissions.add(*wanted)


class Migration(migrations.Migration):
    """Sessions with a user, an address and a time; one user an e-mail address. Signs everybody out once."""

    dependencies = [
        ("access", "0010_audit"),
    ]

    operations = [
        migrations.RunPython(refuse_shared_addresses, migrations.RunPython.noop),
        migrations.AlterField("user", "email", models.EmailField(max_length=254)),
        migrations.AddConstraint(
            "user",
            models.UniqueConstraint(
                Lower("email"),
                name="access_user_email_once",
                violation_error_message="Somebody has this email address already.",
            ),
        ),
        migrations.CreateModel(
            name="Session",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key_hash", models.BinaryField(max_length=32, unique=True)),
                ("data", models.TextField(editable=False)),
                (
                    "address",
                    models.GenericIPAddressField(editable=False, help_text="Where it was seen last.", null=True),
                ),
                (
                    "agent",
                    models.CharField(editable=False, help_text="What the browser says of itself.", max_length=200),
                ),
                ("created_at", models.DateTimeField(editable=False, verbose_name="signed in at")),
                (
                    "seen_at",
                    models.DateTimeField(editable=False, help_text="To the minute.", verbose_name="last seen at"),
                ),
                ("expires_at", models.DateTimeField(db_index=True, editable=False)),
                (
                    "user",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=models.CASCADE,
                        related_name="sessions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "access_session",
                "ordering": ["-seen_at", "-id"],
                "default_permissions": ("view", "delete"),
            },
        ),
        migrations.RunSQL(END_SESSIONS, KEEP_SESSIONS),
        migrations.RunSQL(FORGET_OLD, migrations.RunSQL.noop),
        migrations.RunPython(widen_groups, migrations.RunPython.noop),
    ]
