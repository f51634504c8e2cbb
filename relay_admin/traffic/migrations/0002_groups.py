from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

TRAFFIC = ("view_call", "view_trace", "view_breakerevent")
GROUPS = {"operators": (*TRAFFIC, "view_capture"), "support": (*TRAFFIC, "view_capture"), "viewers": TRAFFIC}


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """Adds what is missing and takes nothing away.

    Django creates permissions only after the last migration, so they are created here first.
    """
    create_permissions(installed.get_app_config("traffic"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, wanted in GROUPS.items():
        group, _ = group_model.objects.get_or_create(name=name)
        for codename in wanted:
            group.permissions.add(permission_model.objects.get(content_type__app_label="traffic", codename=codename))


class Migration(migrations.Migration):
    """Who may see calls to models: the groups that may see deliveries. Captures are content, as payloads are."""

    dependencies = [
        ("access", "0003_groups"),
        ("traffic", "0001_initial"),
    ]

    # Groups that people have filled stay when the migration is taken back.
    operations = [migrations.RunPython(widen_groups, migrations.RunPython.noop)]
