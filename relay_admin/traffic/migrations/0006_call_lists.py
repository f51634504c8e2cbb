from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """One user's calls, and those that were not answered well, are read off an index. Built while calls are written."""

    atomic = False
    dependencies = [("traffic", "0005_money")]

    operations = [
        AddIndexConcurrently(
            model_name="call",
            index=models.Index(
                fields=["user", "-received_at"], condition=models.Q(("user__isnull", False)), name="traffic_call_user"
            ),
        ),
        AddIndexConcurrently(
            model_name="call",
            index=models.Index(
                fields=["-received_at"], condition=models.Q(("status__gte", 300)), name="traffic_call_refused"
            ),
        ),
    ]
