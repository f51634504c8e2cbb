from django.db import migrations, models


class Migration(migrations.Migration):
    """One more reason for which a delivery is over; nothing changes in the database."""

    dependencies = [("deliveries", "0006_dead_keys")]

    operations = [
        migrations.AlterField(
            model_name="finisheddelivery",
            name="dead_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("attempts_exhausted", "attempts exhausted"),
                    ("permanent_failure", "refused for good by the target"),
                    ("target_gone", "target answered 410 Gone"),
                    ("target_deleted", "target was deleted"),
                    ("address_refused", "target's address may not be called"),
                    ("payload_expired", "body is past its retention"),
                    ("mapping_failed", "the target's mapping does not fit the body"),
                    ("expired", "not delivered in its time"),
                    ("unknown_outcome", "lost with the process that sent it; not sent again"),
                    ("no_answer_in_time", "its caller's deadline passed before it was sent"),
                    ("no_room", "the target took nothing at that moment"),
                    ("blocked_key", "behind one of its ordering key that failed"),
                    ("discarded_by_operator", "discarded by an operator"),
                ],
                db_default="",
                max_length=32,
            ),
        ),
    ]
