from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

GRANTS = {
    "operators": ("view_linerevision", "view_linedraft", "change_linedraft"),
    "viewers": ("view_linerevision", "view_linedraft"),
}


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("catalog"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in GRANTS.items():
        for group in group_model.objects.filter(name=name):
            group.permissions.add(
                *permission_model.objects.filter(content_type__app_label="catalog", codename__in=codenames)
            )


class Migration(migrations.Migration):
    """Operators draft lines; viewers see drafts and revisions."""

    dependencies = [
        ("access", "0006_catalog_groups"),
        ("catalog", "0006_relay_plane"),
    ]

    operations = [migrations.RunPython(widen_groups, migrations.RunPython.noop)]
