from django.db import migrations

from relay_admin.catalog.triggers import notify_on_change


class Migration(migrations.Migration):
    """The new nouns announce their changes to every edge."""

    dependencies = [("catalog", "0003_inference_plane")]

    operations = [
        notify_on_change("catalog_pricing"),
        notify_on_change("catalog_modelalias"),
    ]
