"""Users have accounts too, and rows know theirs: triggers make them with the row, and nothing changes which they are."""

COLUMNS = """
ALTER TABLE ledger_account ADD COLUMN user_id bigint;
DROP INDEX ledger_account_once;
CREATE UNIQUE INDEX ledger_account_once
    ON ledger_account (kind, mode, coalesce(project_id, 0), coalesce(user_id, 0));
CREATE INDEX ledger_account_user ON ledger_account (user_id) WHERE user_id IS NOT NULL;
ALTER TABLE ledger_entry ADD COLUMN generation integer;
ALTER TABLE ledger_charge ADD COLUMN generation integer;
"""

ADD_ACCOUNT = """
CREATE FUNCTION ledger_add_account(number bigint, of_kind text, project bigint, of_user bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    INSERT INTO ledger_account (id, kind, mode, project_id, user_id)
    VALUES (2 * number, of_kind, 'live', project, of_user), (2 * number + 1, of_kind, 'test', project, of_user)
$$;
REVOKE EXECUTE ON FUNCTION ledger_add_account(bigint, text, bigint, bigint) FROM PUBLIC;
"""

# What the audit log keeps is what people change: nobody changed these.
TAKE_OVER = """
ALTER TABLE catalog_project DISABLE TRIGGER access_audit;
UPDATE catalog_project AS project SET live_wallet_id = own.ids[1], test_wallet_id = own.ids[2],
    live_pool_id = own.ids[3], test_pool_id = own.ids[4]
FROM (
    SELECT project_id, array_agg(id ORDER BY kind DESC, mode) AS ids FROM ledger_account
    WHERE kind IN ('wallet', 'pool') AND project_id IS NOT NULL GROUP BY project_id
) AS own
WHERE own.project_id = project.id;
ALTER TABLE catalog_project ENABLE TRIGGER access_audit;
ALTER TABLE access_user DISABLE TRIGGER access_audit;
UPDATE access_user SET live_wallet_id = 2 * nextval('ledger_account_number');
UPDATE access_user SET test_wallet_id = live_wallet_id + 1;
ALTER TABLE access_user ENABLE TRIGGER access_audit;
SELECT ledger_add_account(live_wallet_id / 2, 'wallet', NULL, id),
    ledger_add_account(nextval('ledger_account_number'), 'earnings', NULL, id)
FROM access_user ORDER BY id;
"""

UNDO = """
DROP TRIGGER ledger_keep_accounts ON access_user;
DROP TRIGGER ledger_user_accounts ON access_user;
DROP TRIGGER ledger_number_accounts ON access_user;
DROP TRIGGER ledger_keep_accounts ON catalog_project;
DROP TRIGGER ledger_number_accounts ON catalog_project;
CREATE OR REPLACE FUNCTION ledger_project_accounts() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM ledger_open_accounts(NEW.id);
    RETURN NULL;
END $$;
DROP FUNCTION ledger_keep_accounts(), ledger_user_accounts(), ledger_number_accounts(),
    ledger_add_account(bigint, text, bigint, bigint);
ALTER TABLE ledger_charge DROP COLUMN generation;
ALTER TABLE ledger_entry DROP COLUMN generation;
DELETE FROM ledger_account WHERE user_id IS NOT NULL;
DROP INDEX ledger_account_once;
ALTER TABLE ledger_account DROP COLUMN user_id;
CREATE UNIQUE INDEX ledger_account_once ON ledger_account (kind, mode, coalesce(project_id, 0));
"""

TRIGGERS = """
CREATE FUNCTION ledger_number_accounts() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    NEW.live_wallet_id := 2 * nextval('ledger_account_number');
    NEW.test_wallet_id := NEW.live_wallet_id + 1;
    IF TG_TABLE_NAME = 'catalog_project' THEN
        NEW.live_pool_id := 2 * nextval('ledger_account_number');
        NEW.test_pool_id := NEW.live_pool_id + 1;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_number_accounts BEFORE INSERT ON catalog_project
    FOR EACH ROW EXECUTE FUNCTION ledger_number_accounts();
CREATE TRIGGER ledger_number_accounts BEFORE INSERT ON access_user
    FOR EACH ROW EXECUTE FUNCTION ledger_number_accounts();

CREATE OR REPLACE FUNCTION ledger_project_accounts() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM ledger_add_account(NEW.live_wallet_id / 2, 'wallet', NEW.id, NULL);
    PERFORM ledger_add_account(NEW.live_pool_id / 2, 'pool', NEW.id, NULL);
    PERFORM ledger_add_account(nextval('ledger_account_number'), 'earnings', NEW.id, NULL);
    RETURN NULL;
END $$;
CREATE FUNCTION ledger_user_accounts() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM ledger_add_account(NEW.live_wallet_id / 2, 'wallet', NULL, NEW.id);
    PERFORM ledger_add_account(nextval('ledger_account_number'), 'earnings', NULL, NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_user_accounts AFTER INSERT ON access_user
    FOR EACH ROW EXECUTE FUNCTION ledger_user_accounts();

CREATE FUNCTION ledger_keep_accounts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.live_wallet_id := OLD.live_wallet_id;
    NEW.test_wallet_id := OLD.test_wallet_id;
    IF TG_TABLE_NAME = 'catalog_project' THEN
        NEW.live_pool_id := OLD.live_pool_id;
        NEW.test_pool_id := OLD.test_pool_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_keep_accounts BEFORE UPDATE ON catalog_project FOR EACH ROW
    WHEN ((OLD.live_wallet_id, OLD.test_wallet_id, OLD.live_pool_id, OLD.test_pool_id)
        IS DISTINCT FROM (NEW.live_wallet_id, NEW.test_wallet_id, NEW.live_pool_id, NEW.test_pool_id))
    EXECUTE FUNCTION ledger_keep_accounts();
CREATE TRIGGER ledger_keep_accounts BEFORE UPDATE ON access_user FOR EACH ROW
    WHEN ((OLD.live_wallet_id, OLD.test_wallet_id) IS DISTINCT FROM (NEW.live_wallet_id, NEW.test_wallet_id))
    EXECUTE FUNCTION ledger_keep_accounts();
"""
