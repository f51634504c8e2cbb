from typing import Any

import django.contrib.postgres.fields
import django.db.models.deletion
from django.apps import apps as installed
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations, models

from relay_admin.access.audit_triggers import audited

GRANTED = tuple(
    f"{verb}_{noun}" for noun in ("membership", "invitation") for verb in ("view", "add", "change", "delete")
)


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("access"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for group in group_model.objects.filter(name="operators"):
        group.permissions.add(*permission_model.objects.filter(content_type__app_label="access", codename__in=GRANTED))


class Migration(migrations.Migration):
    """Members of projects, invitations, and when an address was verified. Operators keep both."""

    dependencies = [
        ("access", "0012_money"),
        ("catalog", "0009_money"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="email_verified_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="relaykey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[("relay", "relay"), ("inference", "inference"), ("control", "control")], max_length=16
                ),
                help_text="relay: POST /r/...; inference: /v1/...; control: the control API, of its project.",
                size=None,
            ),
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(max_length=254)),
                (
                    "role",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("owner", "owner"),
                            ("admin", "admin"),
                            ("developer", "developer"),
                            ("support", "support"),
                            ("viewer", "viewer"),
                            ("customer", "customer"),
                        ],
                        help_text="Empty without a project.",
                        max_length=16,
                    ),
                ),
                ("token_hash", models.BinaryField(max_length=32, unique=True)),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "invited_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="invitations",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="invitations",
                        to="catalog.project",
                    ),
                ),
            ],
            options={
                "db_table": "access_invitation",
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("project", None), ("role", "")),
                            models.Q(("project__isnull", False), models.Q(("role__in", ("", "owner")), _negated=True)),
                            _connector="OR",
                        ),
                        name="access_invitation_role_of_project",
                        violation_error_message="To a project it has a role, other than owner; without one it has none.",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "owner"),
                            ("admin", "admin"),
                            ("developer", "developer"),
                            ("support", "support"),
                            ("viewer", "viewer"),
                            ("customer", "customer"),
                        ],
                        max_length=16,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="memberships", to="catalog.project"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "access_membership",
                "ordering": ["project__slug", "user__username"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("project", "user"),
                        name="access_membership_once",
                        violation_error_message="They are a member of this project already.",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("role", "owner")),
                        fields=("project",),
                        name="access_membership_one_owner",
                        violation_error_message="This project has an owner already.",
                    ),
                ],
            },
        ),
        migrations.RunPython(widen_groups, migrations.RunPython.noop),
        audited("access_membership", "access.membership", project="project_id"),
        audited("access_invitation", "access.invitation", project="project_id"),
    ]
