"""The row triggers that tell every edge what changed. Used by migrations; `test_nouns_match_models` checks them.

Row triggers fire for `save`, `bulk_create`, `QuerySet.update`, raw SQL and the shell alike, and only on commit,
which no signal of Django's does.
"""

from django.db import migrations

from relay_contract.channel import CHANNEL, ROW_TRIGGER, TRIGGER_FUNCTION, TRUNCATE_TRIGGER

CREATE_FUNCTION = migrations.RunSQL(
    f"""
    CREATE FUNCTION {TRIGGER_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME || ' *');
        ELSIF TG_OP = 'DELETE' THEN
            PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME || ' ' || OLD.id);
        ELSE
            PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME || ' ' || NEW.id);
        END IF;
        RETURN NULL;
    END $$;
    """,
    f"DROP FUNCTION {TRIGGER_FUNCTION}()",
)


def notify_on_change(table: str) -> migrations.RunSQL:
    """Migration operation: rows of `table` announce themselves on the catalog channel."""
    return migrations.RunSQL(
        f"""
        CREATE TRIGGER {ROW_TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {TRIGGER_FUNCTION}();
        CREATE TRIGGER {TRUNCATE_TRIGGER} AFTER TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {TRIGGER_FUNCTION}();
        """,
        f"DROP TRIGGER {ROW_TRIGGER} ON {table}; DROP TRIGGER {TRUNCATE_TRIGGER} ON {table};",
    )


def notify_on_change_held(table: str, held: str) -> migrations.RunSQL:
    """As `notify_on_change`, of rows that have, or had until now, the column `held`: edges hold no others."""
    function = f"{table}_changed"
    return migrations.RunSQL(
        f"""
        CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.{held} OR NEW.{held} THEN
                PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME || ' ' || coalesce(NEW.id, OLD.id));
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER {ROW_TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {function}();
        CREATE TRIGGER {TRUNCATE_TRIGGER} AFTER TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {TRIGGER_FUNCTION}();
        """,
        f"""
        DROP TRIGGER {ROW_TRIGGER} ON {table};
        DROP TRIGGER {TRUNCATE_TRIGGER} ON {table};
        DROP FUNCTION {function}();
        """,
    )


TARGET_VERSION_TRIGGER = "catalog_target_version"
TARGET_SECRET_TRIGGER = "catalog_targetsecret_version"  # noqa: S105 (a trigger's name)

COUNT_TARGET_VERSIONS = migrations.RunSQL(
    f"""
    CREATE FUNCTION {TARGET_VERSION_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.version := OLD.version + 1;
        RETURN NEW;
    END $$;
    CREATE TRIGGER {TARGET_VERSION_TRIGGER} BEFORE UPDATE ON catalog_target
        FOR EACH ROW EXECUTE FUNCTION {TARGET_VERSION_TRIGGER}();
    CREATE FUNCTION {TARGET_SECRET_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            UPDATE catalog_target SET version = version WHERE id = OLD.target_id;
        END IF;
        IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW.target_id <> OLD.target_id THEN
            UPDATE catalog_target SET version = version WHERE id = NEW.target_id;
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER {TARGET_SECRET_TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON catalog_targetsecret
        FOR EACH ROW EXECUTE FUNCTION {TARGET_SECRET_TRIGGER}();
    """,  # noqa: S608 (constants)
    f"""
    DROP TRIGGER {TARGET_SECRET_TRIGGER} ON catalog_targetsecret;
    DROP FUNCTION {TARGET_SECRET_TRIGGER}();
    DROP TRIGGER {TARGET_VERSION_TRIGGER} ON catalog_target;
    DROP FUNCTION {TARGET_VERSION_TRIGGER}();
    """,
)
"""A target's `version` grows with every UPDATE of its row, whoever writes it, and with every change of its secrets, so
that what a process made of (id, version) is never stale."""


PRICE_VERSION_TRIGGER = "catalog_pricing_version"
KEEP_PRICE_VERSION_TRIGGER = "catalog_pricing_keep"
PRICE_VERSIONS_TRIGGER = "catalog_priceversion_append_only"

KEEP_PRICE_VERSIONS = migrations.RunSQL(
    f"""
    INSERT INTO catalog_priceversion (pricing_id, version, rates) SELECT id, version, rates FROM catalog_pricing;
    CREATE FUNCTION {PRICE_VERSION_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.version := OLD.version + (NEW.rates IS DISTINCT FROM OLD.rates)::int;
        RETURN NEW;
    END $$;
    CREATE TRIGGER {PRICE_VERSION_TRIGGER} BEFORE UPDATE ON catalog_pricing
        FOR EACH ROW EXECUTE FUNCTION {PRICE_VERSION_TRIGGER}();
    CREATE FUNCTION {KEEP_PRICE_VERSION_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' OR NEW.version <> OLD.version THEN
            INSERT INTO catalog_priceversion (pricing_id, version, rates) VALUES (NEW.id, NEW.version, NEW.rates);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER {KEEP_PRICE_VERSION_TRIGGER} AFTER INSERT OR UPDATE ON catalog_pricing
        FOR EACH ROW EXECUTE FUNCTION {KEEP_PRICE_VERSION_TRIGGER}();
    CREATE FUNCTION {PRICE_VERSIONS_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'versions of prices are only ever added to' USING ERRCODE = 'restrict_violation';
    END $$;
    CREATE TRIGGER {PRICE_VERSIONS_TRIGGER} BEFORE UPDATE OR DELETE ON catalog_priceversion
        FOR EACH ROW EXECUTE FUNCTION {PRICE_VERSIONS_TRIGGER}();
    """,  # noqa: S608 (constants)
    f"""
    DROP TRIGGER {PRICE_VERSIONS_TRIGGER} ON catalog_priceversion;
    DROP FUNCTION {PRICE_VERSIONS_TRIGGER}();
    DROP TRIGGER {KEEP_PRICE_VERSION_TRIGGER} ON catalog_pricing;
    DROP FUNCTION {KEEP_PRICE_VERSION_TRIGGER}();
    DROP TRIGGER {PRICE_VERSION_TRIGGER} ON catalog_pricing;
    DROP FUNCTION {PRICE_VERSION_TRIGGER}();
    """,
)
"""A price's `version` grows when its rates change, whoever writes them, and the rates of every version stay."""
