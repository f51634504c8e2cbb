from django.db import migrations

from relay_admin.catalog.triggers import notify_on_change


class Migration(migrations.Migration):
    """A minted or revoked relay key announces itself to every edge."""

    dependencies = [("access", "0001_initial"), ("catalog", "0002_triggers")]

    operations = [notify_on_change("access_relaykey")]
