from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

SEEN = ("view_alertrule", "view_alertevent")
GRANTS = {
    "operators": ("add_alertrule", "change_alertrule", "delete_alertrule", *SEEN),
    "support": SEEN,
    "viewers": SEEN,
}


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("deliveries"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in GRANTS.items():
        for group in group_model.objects.filter(name=name):
            group.permissions.add(
                *permission_model.objects.filter(content_type__app_label="deliveries", codename__in=codenames)
            )


class Migration(migrations.Migration):
    """Operators write rules of alerts; everybody sees them and what they told."""

    dependencies = [
        ("access", "0007_relay_groups"),
        ("deliveries", "0004_replays_and_alerts"),
    ]

    operations = [migrations.RunPython(widen_groups, migrations.RunPython.noop)]
