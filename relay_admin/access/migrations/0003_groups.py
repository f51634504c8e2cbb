from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

CATALOG = (
    "ratelimit",
    "policy",
    "project",
    "line",
    "endpoint",
    "target",
    "host",
    "hostkey",
    "model",
    "hostbinding",
)
TRAFFIC = (
    "deliveries.view_request",
    "deliveries.view_delivery",
    "deliveries.view_attempt",
    "deliveries.view_replaybatch",
)
SUPPORT = (*TRAFFIC, "deliveries.view_payload", "deliveries.replay_delivery")
OPERATORS = (
    *(f"catalog.{verb}_{name}" for name in CATALOG for verb in ("add", "change", "delete", "view")),
    "catalog.reveal_signing_secret",
    *(f"access.{verb}_relaykey" for verb in ("add", "change", "delete", "view")),
    *SUPPORT,
)
VIEWERS = (*(f"catalog.view_{name}" for name in CATALOG), "access.view_relaykey", *TRAFFIC)
GROUPS = {"operators": OPERATORS, "support": SUPPORT, "viewers": VIEWERS}


def create_groups(apps: Any, _schema_editor: Any) -> None:
    """Adds what is missing and takes nothing away, so it may run again over groups that someone has widened.

    Django creates permissions only after the last migration, so they are created here first.
    """
    for label in ("access", "catalog", "deliveries"):
        create_permissions(installed.get_app_config(label), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, wanted in GROUPS.items():
        group, _ = group_model.objects.get_or_create(name=name)
        for permission in wanted:
            label, codename = permission.split(".")
            group.permissions.add(permission_model.objects.get(content_type__app_label=label, codename=codename))


class Migration(migrations.Migration):
    """The permission groups `operators`, `support` and `viewers`."""

    dependencies = [
        ("access", "0002_triggers"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("deliveries", "0001_initial"),
    ]

    # Groups that people have filled stay when the migration is taken back.
    operations = [migrations.RunPython(create_groups, migrations.RunPython.noop)]
