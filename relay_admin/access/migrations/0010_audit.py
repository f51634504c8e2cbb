from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations, models

from relay_admin.access.audit_triggers import CREATE_FUNCTIONS, CREATE_TABLE, REFUSE_CHANGES, audited

SEEDED = ("template",)


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("access"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for group in group_model.objects.filter(name="operators"):
        group.permissions.add(
            permission_model.objects.get(content_type__app_label="access", codename="view_auditevent")
        )


class Migration(migrations.Migration):
    """The audit log: a table that is only added to, and the triggers that fill it. Operators may read it."""

    dependencies = [
        ("access", "0008_alert_groups"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("catalog", "0007_stream_hold"),
        ("deliveries", "0009_alert_reminders"),
    ]

    operations = [
        CREATE_TABLE,
        REFUSE_CHANGES,
        CREATE_FUNCTIONS,
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "verbose_name": "audit event",
                "db_table": "access_auditevent",
                "ordering": ["-id"],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
        migrations.RunPython(widen_groups, migrations.RunPython.noop),
        audited("catalog_project", "catalog.project", project="id"),
        audited("catalog_line", "catalog.line", project="project_id"),
        audited(
            "catalog_linerevision",
            "catalog.line",
            key="line_id",
            project="line_id",
            part="revision",
            hidden=("document",),
        ),
        audited(
            "catalog_linedraft", "catalog.line", key="line_id", project="line_id", part="draft", hidden=("document",)
        ),
        audited("catalog_endpoint", "catalog.endpoint", project="line_id"),
        audited(
            "catalog_target",
            "catalog.target",
            project="endpoint_id",
            hidden=("client_certificate",),
            ignored=("version",),
        ),
        audited("catalog_targetsecret", "catalog.target", key="target_id", project="target_id", part="secret"),
        audited("catalog_ratelimit", "catalog.ratelimit"),
        audited("catalog_policy", "catalog.policy"),
        audited("catalog_host", "catalog.host", ignored=SEEDED),
        audited("catalog_hostkey", "catalog.hostkey"),
        audited("catalog_model", "catalog.model", ignored=SEEDED),
        audited("catalog_modelalias", "catalog.model", key="model_id", part="alias"),
        audited("catalog_hostbinding", "catalog.hostbinding", ignored=SEEDED),
        audited("catalog_pricing", "catalog.pricing", ignored=SEEDED),
        audited("access_relaykey", "access.relaykey", project="project_id"),
        audited("access_admintoken", "access.admintoken"),
        audited("access_user", "access.user", ignored=("last_login",)),
        audited("access_user_groups", "access.user", key="user_id", part="group"),
        audited("access_user_user_permissions", "access.user", key="user_id", part="permission"),
        audited("auth_group", "auth.group"),
        audited("auth_group_permissions", "auth.group", key="group_id", part="permission"),
        audited("deliveries_alertrule", "deliveries.alertrule", project="project_id"),
        audited(
            "deliveries_replaybatch",
            "deliveries.replaybatch",
            project="project_id",
            ignored=("cursor", "replayed_count", "refused_count", "refused", "credits", "next_at"),
        ),
    ]
