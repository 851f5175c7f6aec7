-- Finds the entry of a match by its seq, without an index for it: seq and created_at grow together, so that bisecting
-- the time finds it in the primary key, and what is near the end, which is nearly always asked for, by counting back.
CREATE FUNCTION find_entry(
    p_match_no bigint, p_seq bigint, p_last_seq bigint, p_last_at bigint,
    OUT kind smallint, OUT n bigint, OUT created_at bigint
) LANGUAGE plpgsql STABLE SET search_path = duologue, pg_temp AS $$
#variable_conflict use_column
DECLARE
    c_near CONSTANT bigint := 64;
    v_low bigint := 0;              -- the entry lies after this time…
    v_high bigint := p_last_at;     -- …and not after this one,
    v_high_seq bigint := p_last_seq;  -- where this seq is
    v_middle bigint;
    v_entry record;
BEGIN
    IF p_seq < 1 OR p_seq > p_last_seq THEN
        RETURN;
    END IF;
    WHILE v_high_seq - p_seq > c_near LOOP
        v_middle := v_low + (v_high - v_low) / 2;
        SELECT e.seq, e.created_at INTO v_entry FROM entries e
        WHERE e.match_no = p_match_no AND e.created_at <= v_middle AND e.created_at > v_low
        ORDER BY e.created_at DESC LIMIT 1;
        IF NOT FOUND THEN
            v_low := v_middle;
        ELSIF v_entry.seq < p_seq THEN
            v_low := v_middle;
        ELSE
            v_high := v_entry.created_at;
            v_high_seq := v_entry.seq;
        END IF;
    END LOOP;
    SELECT e.kind, e.n, e.created_at INTO kind, n, created_at FROM entries e
    WHERE e.match_no = p_match_no AND e.created_at <= v_high AND e.created_at > v_low
    ORDER BY e.created_at DESC OFFSET v_high_seq - p_seq LIMIT 1;
END $$;
