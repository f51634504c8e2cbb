from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

SEEN = ("view_account", "view_entry")
GRANTS = {"operators": (*SEEN, "post_entry"), "support": SEEN, "viewers": SEEN}


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("ledger"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in GRANTS.items():
        for group in group_model.objects.filter(name=name):
            group.permissions.add(
                *permission_model.objects.filter(content_type__app_label="ledger", codename__in=codenames)
            )


class Migration(migrations.Migration):
    """Everybody sees accounts and their entries; operators grant credits and adjust."""

    dependencies = [
        ("ledger", "0002_double_entry"),
        ("access", "0003_groups"),
    ]

    operations = [migrations.RunPython(widen_groups, migrations.RunPython.noop)]
