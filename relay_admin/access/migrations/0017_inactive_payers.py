from django.db import migrations, models

# As before, and whether that user is active. The user's row is held where a key comes to them, so that whoever
# deactivates them in this moment sees the key, or is seen.
_PAYER = """
CREATE OR REPLACE FUNCTION access_relaykey_payer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.payer_is_active := true;
    IF NEW.pays <> 'user' THEN
        NEW.wallet_id := NULL;
    ELSIF NEW.user_id IS NOT NULL THEN
        IF TG_OP = 'INSERT' OR (OLD.pays, OLD.user_id) IS DISTINCT FROM (NEW.pays, NEW.user_id) THEN
            PERFORM FROM access_user WHERE id = NEW.user_id FOR SHARE;
        END IF;
        SELECT CASE NEW.mode WHEN 'test' THEN test_wallet_id ELSE live_wallet_id END, is_active
            INTO NEW.wallet_id, NEW.payer_is_active FROM access_user WHERE id = NEW.user_id;
    ELSIF TG_OP = 'INSERT' THEN
        RAISE EXCEPTION 'a key that its user pays for has a user' USING ERRCODE = 'check_violation';
    ELSE
        NEW.revoked_at := coalesce(NEW.revoked_at, now());
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION access_user_stop_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE access_relaykey SET payer_is_active = NEW.is_active WHERE user_id = NEW.id AND pays = 'user';
    RETURN NULL;
END $$;
CREATE TRIGGER access_user_stop_keys AFTER UPDATE OF is_active ON access_user
    FOR EACH ROW WHEN (OLD.is_active <> NEW.is_active) EXECUTE FUNCTION access_user_stop_keys();

UPDATE access_relaykey SET payer_is_active = false
FROM access_user WHERE access_user.id = user_id AND pays = 'user' AND NOT access_user.is_active;
"""
_PAYER_OF_BEFORE = """
DROP TRIGGER access_user_stop_keys ON access_user;
DROP FUNCTION access_user_stop_keys();

CREATE OR REPLACE FUNCTION access_relaykey_payer() RETURNS trigger LANGUAGE plpgsql AS $$
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
"""


class Migration(migrations.Migration):
    """Keys that a user pays for stop while that user is deactivated, whoever writes either row."""

    dependencies = [
        ("access", "0016_member_budgets"),
    ]

    operations = [
        migrations.AddField(
            model_name="relaykey",
            name="payer_is_active",
            field=models.BooleanField(
                db_default=True,
                default=True,
                editable=False,
                help_text="No: its user pays for it, and is deactivated.",
            ),
        ),
        migrations.RunSQL(_PAYER, _PAYER_OF_BEFORE),
    ]
