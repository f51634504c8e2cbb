from django.db import migrations, models

from relay_admin.catalog.triggers import notify_on_change_held


class Migration(migrations.Migration):
    """Members may have a budget of their own in a project, or none where the project gives its users one."""

    dependencies = [("access", "0015_key_successors"), ("catalog", "0011_user_budget")]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="has_own_budget",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Theirs is not the project's budget for each user, but the one beside; that may be none.",
                verbose_name="own budget",
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="budget",
            field=models.JSONField(
                blank=True, help_text="What they may spend in a day, week or month, UTC.", null=True
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(("budget", None), ("has_own_budget", True), _connector="OR"),
                name="access_membership_own_budget",
                violation_error_message="For a budget of their own, say that they have one.",
            ),
        ),
        notify_on_change_held("access_membership", "has_own_budget"),
    ]
