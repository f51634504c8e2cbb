from typing import Any

import django.db.models.deletion
from django.apps import apps as installed
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations, models

VERBS = {"operators": ("add", "change", "delete", "view"), "viewers": ("view",)}
NOUNS = ("modelalias", "pricing")


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("catalog"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, verbs in VERBS.items():
        for group in group_model.objects.filter(name=name):
            wanted = [f"{verb}_{noun}" for verb in verbs for noun in NOUNS]
            group.permissions.add(
                *permission_model.objects.filter(content_type__app_label="catalog", codename__in=wanted)
            )


class Migration(migrations.Migration):
    """Operators and viewers get to the new nouns of the catalog; labels and help of a relay key's new columns."""

    dependencies = [
        ("access", "0005_inference_plane"),
        ("catalog", "0005_seeded_names"),
    ]

    operations = [
        migrations.AlterField(
            model_name="relaykey",
            name="captures_payloads",
            field=models.BooleanField(
                default=False,
                help_text="Keep what this key sends and receives, redacted, for the days that the settings say.",
                verbose_name="capture payloads",
            ),
        ),
        migrations.AlterField(
            model_name="relaykey",
            name="user",
            field=models.ForeignKey(
                blank=True,
                help_text="Whose key it is: a policy may limit each user.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="relay_keys",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.RunPython(widen_groups, migrations.RunPython.noop),
    ]
