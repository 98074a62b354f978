"""What a session of the server may take, and what no role may call."""

STATEMENT_SECONDS = 2  # each, for the roles that rows reach

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "20",
    "shared_buffers": "32MB",
    "temp_file_limit": "64MB",  # of each session
    "work_mem": "16MB",
    "max_locks_per_transaction": "1024",  # a prompt may hold 500 tables
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "lc_messages": "C",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "unix_socket_permissions": "0700",
}
# what a query could lift its own limits with, wait with, run text with, or leave something behind with
REVOKED = (
    r"set_config|setseed|pg_sleep.*|pg_(try_)?advisory.*|lo_.*|lo(creat|open|read|write|import|export|unlink)|(query|table|schema|database|cursor)_to_xml.*"
    r"|ts_stat|ts_rewrite|pg_notify|pg_(terminate|cancel)_backend|pg_export_snapshot|pg_(read|ls|stat_file).*|pg_log_.*|pg_reload_conf|pg_rotate.*"
    r"|pg_current_logfile|pg_logical.*|pg_replication.*|pg_create.*|pg_switch.*|pg_stat_reset.*|pg_(clear|restore)_.*_stats|pg_relation_filepath|dblink.*"
)
ROLES = f"""
CREATE ROLE owner LOGIN;
CREATE ROLE reader LOGIN;
ALTER ROLE owner SET statement_timeout = '{STATEMENT_SECONDS}s';
ALTER ROLE owner SET lock_timeout = '{STATEMENT_SECONDS}s';
ALTER ROLE reader SET statement_timeout = '{STATEMENT_SECONDS}s';
ALTER ROLE reader SET lock_timeout = '{STATEMENT_SECONDS}s';
ALTER ROLE reader SET default_transaction_read_only = on;
"""
PRIVATE = f"""
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO owner;
GRANT USAGE ON SCHEMA public TO reader;
DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT oid::regprocedure FROM pg_proc WHERE proname ~ '^({REVOKED})$' AND pronamespace = 'pg_catalog'::regnamespace LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
"""
