import django.core.validators
from django.db import migrations, models

# The wallet of a key that its user pays for is that user's, of the key's mode, whoever writes the row. A user who is
# gone pays for nothing more.
_PAYER = """
CREATE FUNCTION access_relaykey_payer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.pays <> 'user' THEN
        NEW.wallet_id := NULL;
    ELSIF NEW.user_id IS NOT NULL THEN
        SELECT CASE NEW.mode WHEN 'test' THEN test_wallet_id ELSE live_wallet_id END INTO NEW.wallet_id
        FROM access_user WHERE id = NEW.user_id;
    ELSIF TG_OP = 'INSERT' THEN
        RAISE EXCEPTION 'a key that its user pays for has a user' USING ERRCODE = 'check_violation';
    ELSE
        NEW.revoked_at := coalesce(NEW.revoked_at, now());
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER access_relaykey_payer BEFORE INSERT OR UPDATE ON access_relaykey
    FOR EACH ROW EXECUTE FUNCTION access_relaykey_payer();
"""
_UNDO_PAYER = "DROP TRIGGER access_relaykey_payer ON access_relaykey; DROP FUNCTION access_relaykey_payer();"


class Migration(migrations.Migration):
    """Successors that are made by themselves wait, sealed, until their token was read; mails may be about an account."""

    dependencies = [
        ("access", "0015_customers"),
        ("ledger", "0007_purses"),
    ]

    operations = [
        migrations.AddField(
            model_name="relaykey",
            name="successor_waits",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddField(
            model_name="relaykey",
            name="sealed_successor_token",
            field=models.BinaryField(db_default=b"", default=b"", editable=False, help_text="Until it was read, once."),
        ),
        migrations.AddField(
            model_name="relaykey",
            name="rotates_days_before",
            field=models.SmallIntegerField(
                blank=True,
                help_text=(
                    "A successor is made by itself so many days before it expires. Its holder reads it with the key."
                ),
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(90),
                ],
            ),
        ),
        migrations.AddConstraint(
            model_name="relaykey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("sealed_successor_token", b""), ("successor_waits", False)),
                    models.Q(
                        ("has_successor", True),
                        ("successor_waits", True),
                        models.Q(("sealed_successor_token", b""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="access_relaykey_waits",
            ),
        ),
        migrations.AddConstraint(
            model_name="relaykey",
            constraint=models.CheckConstraint(
                condition=models.Q(("rotates_days_before", None))
                | models.Q(("expires_at__isnull", False), ("rotates_days_before__range", (1, 90))),
                name="access_relaykey_rotates",
                violation_error_message="A key that is rotated by itself expires.",
            ),
        ),
        migrations.AddField(
            model_name="mail",
            name="account_id",
            field=models.BigIntegerField(help_text="The wallet that it is about.", null=True),
        ),
        migrations.AlterField(
            model_name="mail",
            name="kind",
            field=models.CharField(
                choices=[
                    ("sign_up", "Sign Up"),
                    ("reset", "Reset"),
                    ("verify", "Verify"),
                    ("invitation", "Invitation"),
                    ("changed_password", "Changed Password"),
                    ("changed_address", "Changed Address"),
                    ("low_balance", "Low Balance"),
                ],
                max_length=20,
            ),
        ),
        migrations.RunSQL(_PAYER, _UNDO_PAYER),
    ]
