"""What the keeper of the purses in Redis goes by: how much of each account was taken under which generation, and a
version of each balance that purses are told. The statements that change a version run one after the other, so that a
higher version is never to be seen before a lower one."""

from relay_admin.ledger.folding import TURN

TABLES = """
ALTER TABLE ledger_account
    ADD COLUMN overdraft_microcredits bigint NOT NULL DEFAULT 0,
    ADD COLUMN low_balance_microcredits bigint,
    ADD CONSTRAINT ledger_account_overdrafts CHECK (overdraft_microcredits BETWEEN 0 AND 1000000000000000),
    ADD CONSTRAINT ledger_account_low_balances CHECK (low_balance_microcredits BETWEEN 0 AND 1000000000000000);
ALTER TABLE ledger_delta ADD COLUMN generation integer;
ALTER TABLE ledger_chargedelta ADD COLUMN generation integer;
ALTER TABLE ledger_balance
    ADD COLUMN is_purse boolean NOT NULL DEFAULT false,
    ADD COLUMN version bigint NOT NULL DEFAULT 0,
    ADD COLUMN closed_generation integer NOT NULL DEFAULT 0;
CREATE INDEX ledger_balance_purses ON ledger_balance (version) WHERE is_purse;
CREATE TABLE ledger_taken (
    account_id bigint NOT NULL REFERENCES ledger_account,
    generation integer NOT NULL,
    taken bigint NOT NULL,
    PRIMARY KEY (account_id, generation)
);
CREATE SEQUENCE ledger_generation AS integer;
CREATE SEQUENCE ledger_version;
"""

COUNT = """
CREATE OR REPLACE FUNCTION ledger_count_charges() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO ledger_chargedelta (project_id, key_mode, day, generation, held, unheld, settled, entries)
    SELECT project_id, key_mode, (at AT TIME ZONE 'UTC')::date, generation,
        coalesce(sum(micro_credits) FILTER (WHERE phase = 0), 0),
        coalesce(sum(coalesce(held_microcredits, micro_credits)) FILTER (WHERE phase = 1), 0),
        coalesce(sum(micro_credits) FILTER (WHERE kind = 'settle'), 0),
        count(*) FILTER (WHERE kind = 'settle')
    FROM added GROUP BY 1, 2, 3, 4;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION ledger_count_entries() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO ledger_delta (account_id, day, kind, generation, debit, credit, entries)
    SELECT account_id, day, kind, generation, sum(debit), sum(credit), count(*) FROM (
        SELECT debit_id AS account_id, (at AT TIME ZONE 'UTC')::date AS day, kind, generation, amount AS debit,
            0 AS credit
        FROM added
        UNION ALL
        SELECT credit_id, (at AT TIME ZONE 'UTC')::date, kind, NULL, 0, amount FROM added
    ) AS side
    GROUP BY 1, 2, 3, 4;
    RETURN NULL;
END $$;
"""

# Pools and wallets of users pay for nothing but what they have; wallets of projects once their project is prepaid.
PURSES = f"""
CREATE FUNCTION ledger_open_purse() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO ledger_balance (account_id, debit, credit, open_holds, folded_at, is_purse)
    VALUES (NEW.id, 0, 0, 0, clock_timestamp(), true) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_open_purse AFTER INSERT ON ledger_account FOR EACH ROW
    WHEN (NEW.kind = 'pool' OR NEW.kind = 'wallet' AND NEW.user_id IS NOT NULL)
    EXECUTE FUNCTION ledger_open_purse();

CREATE FUNCTION ledger_project_purses() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({TURN});
    INSERT INTO ledger_balance AS stored (account_id, debit, credit, open_holds, folded_at, is_purse, version)
    SELECT id, 0, 0, 0, clock_timestamp(), true, nextval('ledger_version')
    FROM unnest(ARRAY[NEW.live_wallet_id, NEW.test_wallet_id]) AS id
    ON CONFLICT (account_id) DO UPDATE SET is_purse = true, version = excluded.version;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_project_purses AFTER INSERT OR UPDATE OF billing ON catalog_project FOR EACH ROW
    WHEN (NEW.billing = 'prepaid') EXECUTE FUNCTION ledger_project_purses();

CREATE FUNCTION ledger_tell_purse() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({TURN});
    UPDATE ledger_balance SET version = nextval('ledger_version') WHERE account_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_tell_purse AFTER UPDATE ON ledger_account FOR EACH ROW
    WHEN (OLD.overdraft_microcredits <> NEW.overdraft_microcredits) EXECUTE FUNCTION ledger_tell_purse();

INSERT INTO ledger_balance AS stored (account_id, debit, credit, open_holds, folded_at, is_purse)
SELECT account.id, 0, 0, 0, clock_timestamp(), true FROM ledger_account AS account
    LEFT JOIN catalog_project AS project ON project.id = account.project_id
WHERE account.kind = 'pool' OR account.kind = 'wallet' AND (account.user_id IS NOT NULL OR project.billing = 'prepaid')
ON CONFLICT (account_id) DO UPDATE SET is_purse = true;
"""  # noqa: S608 (a constant)

UNDO = """
DROP TRIGGER ledger_tell_purse ON ledger_account;
DROP TRIGGER ledger_project_purses ON catalog_project;
DROP TRIGGER ledger_open_purse ON ledger_account;
DROP FUNCTION ledger_tell_purse(), ledger_project_purses(), ledger_open_purse();
CREATE OR REPLACE FUNCTION ledger_count_charges() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO ledger_chargedelta (project_id, key_mode, day, held, unheld, settled, entries)
    SELECT project_id, key_mode, (at AT TIME ZONE 'UTC')::date,
        coalesce(sum(micro_credits) FILTER (WHERE phase = 0), 0),
        coalesce(sum(coalesce(held_microcredits, micro_credits)) FILTER (WHERE phase = 1), 0),
        coalesce(sum(micro_credits) FILTER (WHERE kind = 'settle'), 0),
        count(*) FILTER (WHERE kind = 'settle')
    FROM added GROUP BY 1, 2, 3;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION ledger_count_entries() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO ledger_delta (account_id, day, kind, debit, credit, entries)
    SELECT account_id, day, kind, sum(debit), sum(credit), count(*) FROM (
        SELECT debit_id AS account_id, (at AT TIME ZONE 'UTC')::date AS day, kind, amount AS debit, 0 AS credit
        FROM added
        UNION ALL
        SELECT credit_id, (at AT TIME ZONE 'UTC')::date, kind, 0, amount FROM added
    ) AS side
    GROUP BY 1, 2, 3;
    RETURN NULL;
END $$;
DROP SEQUENCE ledger_version, ledger_generation;
DROP TABLE ledger_taken;
DROP INDEX ledger_balance_purses;
ALTER TABLE ledger_balance DROP COLUMN is_purse, DROP COLUMN version, DROP COLUMN closed_generation;
ALTER TABLE ledger_chargedelta DROP COLUMN generation;
ALTER TABLE ledger_delta DROP COLUMN generation;
ALTER TABLE ledger_account DROP COLUMN overdraft_microcredits, DROP COLUMN low_balance_microcredits;
"""
