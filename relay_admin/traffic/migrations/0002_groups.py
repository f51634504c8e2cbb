from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

SEEN = ("view_call", "view_trace", "view_breakerevent")
GROUPS = {
    "operators": (*SEEN, "view_capture", "reset_breaker"),
    "support": (*SEEN, "view_capture"),
    "viewers": SEEN,
}


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """Adds what is missing and takes nothing away, so it may run again over groups that someone has widened."""
    create_permissions(installed.get_app_config("traffic"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, wanted in GROUPS.items():
        group, _ = group_model.objects.get_or_create(name=name)
        for codename in wanted:
            group.permissions.add(permission_model.objects.get(content_type__app_label="traffic", codename=codename))


class Migration(migrations.Migration):
    """Who may see calls to models: the groups that may see deliveries. Captures are content, as payloads are; closing a
    breaker by hand is for operators."""

    dependencies = [
        ("traffic", "0001_initial"),
        ("access", "0003_groups"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="breakerevent",
            options={
                "default_permissions": ("view",),
                "ordering": ["-at"],
                "permissions": [("reset_breaker", "Can close a breaker by hand")],
                "verbose_name": "breaker event",
            },
        ),
        migrations.RunPython(widen_groups, migrations.RunPython.noop),
    ]
