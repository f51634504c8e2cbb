from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0017_inactive_payers"),
        ("catalog", "0011_user_budget"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="relaykey",
            constraint=models.CheckConstraint(
                condition=models.Q(("pays", "user"), ("scopes__contains", ["relay"]), _negated=True),
                name="access_relaykey_deliveries",
                violation_error_message="A key that its user pays for has no scope relay: the project pays deliveries.",
            ),
        ),
    ]
