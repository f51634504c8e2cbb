import django.contrib.postgres.fields
from django.db import migrations, models

from relay_admin.access.models import every_scope

_SCOPES = (
    *("control", "control:read", "catalog", "catalog:read", "traffic", "traffic:read"),
    *("money", "money:read", "people", "people:read"),
)

# Whoever deletes a token deletes what was made with it, also in SQL. Deferred, so that a back-up may be read in any
# order; the deletion itself is not.
_CHILDREN = """
ALTER TABLE access_admintoken ADD CONSTRAINT access_admintoken_parent FOREIGN KEY (parent_id)
    REFERENCES access_admintoken (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
"""


class Migration(migrations.Migration):
    """Admin tokens are narrowed to scopes and projects, and make others. Those that there are may what they might."""

    dependencies = [
        ("access", "0018_deliveries_are_the_projects"),
    ]

    operations = [
        migrations.AddField(
            model_name="admintoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(choices=[(scope, scope) for scope in _SCOPES], max_length=16),
                db_default=["control"],
                default=every_scope,
                help_text="control: everything its user may; an area: that alone; with :read: to read it alone.",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="admintoken",
            name="project_ids",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(),
                blank=True,
                editable=False,
                help_text="None: every one of its user's.",
                null=True,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="admintoken",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                editable=False,
                help_text="The token that it was made with.",
                null=True,
                on_delete=models.DO_NOTHING,
                related_name="children",
                to="access.admintoken",
            ),
        ),
        migrations.RunSQL(_CHILDREN, "ALTER TABLE access_admintoken DROP CONSTRAINT access_admintoken_parent"),
    ]
