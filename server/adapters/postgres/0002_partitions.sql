-- Not to_regclass: asked before and after waiting for a lock, it repeats its first answer.
CREATE FUNCTION has_table(p_name text) RETURNS boolean LANGUAGE sql VOLATILE
RETURN EXISTS (
    SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'duologue' AND tablename = p_name
);

-- Makes the leaves of `entries` for the month of p_at (null: now) and `p_months` after it, where they are missing, and returns the
-- time up to which there are leaves without a hole, counted from that month.
--
-- LIKE and ATTACH, not PARTITION OF: attaching takes no lock that reading or appending would wait for. Whoever may call
-- this need not own the tables.
CREATE FUNCTION make_partitions(p_at bigint, p_months integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = duologue, pg_temp AS $$
DECLARE
    v_first timestamp := month_of(coalesce(p_at, now_us()));
    v_from timestamp;
    v_name text;
BEGIN
    FOR v_month IN 0..p_months LOOP
        v_from := v_first + make_interval(months => v_month);
        v_name := 'entries_' || to_char(v_from, 'YYYYMM');
        CONTINUE WHEN has_table(v_name);
        -- Two nodes may come at once; the second one finds it made.
        PERFORM pg_advisory_xact_lock(hashtextextended('duologue.partitions', 0));
        CONTINUE WHEN has_table(v_name);
        EXECUTE format('CREATE TABLE %I (LIKE entries INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (match_no, created_at)', v_name);
        EXECUTE format(
            'CREATE UNIQUE INDEX %I ON %I (match_no, sender, client_id) WHERE kind = 1', v_name || '_sent', v_name);
        EXECUTE format(
            'ALTER TABLE entries ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
            v_name, micros_of(v_from), micros_of(v_from + interval '1 month'));
    END LOOP;
    RETURN micros_of(v_first + make_interval(months => p_months + 1));
END $$;
