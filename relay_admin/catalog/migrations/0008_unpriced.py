import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from relay_admin.catalog.triggers import KEEP_PRICE_VERSIONS


class Migration(migrations.Migration):
    """Prices keep the rates of each version, and policies say what becomes of a model without one."""

    dependencies = [("catalog", "0007_stream_hold")]

    operations = [
        migrations.AddField(
            model_name="pricing",
            name="version",
            field=models.IntegerField(
                db_default=1,
                default=1,
                editable=False,
                help_text="Of the rates, counted by the database; calls name it.",
            ),
        ),
        migrations.CreateModel(
            name="PriceVersion",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "pricing_id", "version", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("pricing_id", models.BigIntegerField()),
                ("version", models.IntegerField()),
                ("rates", models.JSONField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={"db_table": "catalog_priceversion", "default_permissions": ()},
        ),
        KEEP_PRICE_VERSIONS,
        migrations.AddField(
            model_name="policy",
            name="unpriced",
            field=models.CharField(
                choices=[("deny", "deny"), ("allow", "allow"), ("estimate", "estimate")],
                db_default="allow",
                default="allow",
                help_text="deny: they are not called. allow: they are, and nobody knows what it cost. estimate: they are, at the price below.",
                max_length=16,
                verbose_name="models without a price",
            ),
        ),
        migrations.AddField(
            model_name="policy",
            name="estimate_pricing",
            field=models.ForeignKey(
                blank=True,
                help_text="What a model without a price is taken to cost, where the policy says estimate.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="catalog.pricing",
                verbose_name="estimated price",
            ),
        ),
        migrations.AddConstraint(
            model_name="policy",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("unpriced", "estimate"), _negated=True),
                    ("estimate_pricing__isnull", False),
                    _connector="OR",
                ),
                name="catalog_policy_estimate",
                violation_error_message="Name the estimated price, or choose deny or allow.",
            ),
        ),
    ]
