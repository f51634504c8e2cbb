from django.db import migrations

from relay_admin.catalog.triggers import CREATE_FUNCTION, notify_on_change


class Migration(migrations.Migration):
    """Rows of the catalog announce their changes to every edge."""

    dependencies = [("catalog", "0001_initial")]

    operations = [
        CREATE_FUNCTION,
        notify_on_change("catalog_ratelimit"),
        notify_on_change("catalog_policy"),
        notify_on_change("catalog_project"),
        notify_on_change("catalog_line"),
        notify_on_change("catalog_endpoint"),
        notify_on_change("catalog_target"),
        notify_on_change("catalog_host"),
        notify_on_change("catalog_hostkey"),
        notify_on_change("catalog_model"),
        notify_on_change("catalog_hostbinding"),
    ]
