from django.db import migrations

# A user's tokens are known by their signatures, and keys that a user pays for by a wallet that outlives its owner.
END_WITH_USER = """
    CREATE FUNCTION access_user_end_bearers() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO access_revocation (kind, value, issued_before, expires_at)
            VALUES ('user', OLD.id::text, clock_timestamp(), clock_timestamp() + interval '660 seconds');
        UPDATE access_relaykey SET revoked_at = clock_timestamp()
            WHERE pays = 'user' AND wallet_id IN (OLD.live_wallet_id, OLD.test_wallet_id) AND revoked_at IS NULL;
        RETURN NULL;
    END $$;
    CREATE TRIGGER access_user_end_bearers AFTER DELETE ON access_user
        FOR EACH ROW EXECUTE FUNCTION access_user_end_bearers();
"""
KEEP_BEARERS = """
    DROP TRIGGER access_user_end_bearers ON access_user;
    DROP FUNCTION access_user_end_bearers();
"""


class Migration(migrations.Migration):
    """What calls at the expense of a user ends with the user."""

    dependencies = [
        ("access", "0014_oauth"),
    ]

    operations = [migrations.RunSQL(END_WITH_USER, KEEP_BEARERS)]
