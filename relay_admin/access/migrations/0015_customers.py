import django.contrib.postgres.functions
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models

KEEP_REFERRER = """
    CREATE FUNCTION access_membership_keep_referrer() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'who brought a customer never changes' USING ERRCODE = 'integrity_constraint_violation';
    END $$;
    CREATE TRIGGER access_membership_keep_referrer BEFORE UPDATE OF referrer_id ON access_membership
        FOR EACH ROW WHEN (NEW.referrer_id IS NOT NULL AND NEW.referrer_id IS DISTINCT FROM OLD.referrer_id)
        EXECUTE FUNCTION access_membership_keep_referrer();
"""
FREE_REFERRER = """
    DROP TRIGGER access_membership_keep_referrer ON access_membership;
    DROP FUNCTION access_membership_keep_referrer();
"""

CUSTOMERS = """
    INSERT INTO access_membership (project_id, user_id, role, created_at)
    SELECT DISTINCT application.project_id, allowed.user_id, 'customer', now()
    FROM access_authorization AS allowed
        JOIN access_oauthapplication AS application ON application.id = allowed.application_id
    WHERE allowed.revoked_at IS NULL
    ON CONFLICT (project_id, user_id) DO NOTHING;
"""


class Migration(migrations.Migration):
    """Users have a code by which they bring others, and customers somebody who brought them, for good. Who allowed an application
    before is a customer too."""

    dependencies = [
        ("access", "0015_deleted_users"),
        ("catalog", "0009_money"),
    ]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="referrer",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                help_text="Who brought this customer, and has a share of what they earn the project. Never changes.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="brought",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="referral_code",
            field=models.CharField(
                db_default=django.db.models.functions.text.Substr(
                    django.db.models.functions.text.MD5(
                        django.db.models.functions.comparison.Cast(
                            django.contrib.postgres.functions.RandomUUID(), models.CharField()
                        )
                    ),
                    1,
                    12,
                ),
                editable=False,
                help_text="Whoever first allows an application with it in the address was brought by this user.",
                max_length=12,
                unique=True,
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("referrer", None),
                    models.Q(("referrer", models.F("user")), _negated=True),
                    _connector="OR",
                ),
                name="access_membership_no_self_referral",
                violation_error_message="Nobody brings themselves.",
            ),
        ),
        migrations.RunSQL(KEEP_REFERRER, FREE_REFERRER),
        migrations.RunSQL(CUSTOMERS, migrations.RunSQL.noop),
    ]
