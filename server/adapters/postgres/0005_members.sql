-- Makes a match, changes its members or ends it; p_members is sorted, each name once. One `members` entry when anything
-- changed, else `entry_seq` is null. `users` and their cursors are the present members after it.
CREATE FUNCTION set_members(
    p_node text, p_now bigint, p_match text, p_members text[],
    OUT made boolean, OUT entry_seq bigint, OUT entry_at bigint, OUT joined text[], OUT gone text[],
    OUT users text[], OUT delivered bigint[], OUT reads bigint[], OUT route_id bigint
) LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_match matches;
    v_present text[];
    v_now bigint;
BEGIN
    -- Nobody blocks anybody between the look at `blocks` and the commit.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('duologue.blocks', 0));
    IF cardinality(p_members) > 0 THEN
        INSERT INTO matches (match_id) VALUES (p_match) ON CONFLICT DO NOTHING;
    END IF;
    SELECT * INTO v_match FROM matches x WHERE x.match_id = p_match FOR NO KEY UPDATE;
    SELECT coalesce(array_agg(m.user_id ORDER BY m.user_id), '{}') INTO v_present
    FROM members m WHERE m.match_no = v_match.match_no AND m.until_seq IS NULL;
    made := false;
    IF v_present = p_members THEN
        RETURN;
    END IF;
    v_now := coalesce(p_now, now_us());
    made := v_present = '{}';
    joined := ARRAY(SELECT u FROM unnest(p_members) u WHERE u <> ALL (v_present));
    gone := ARRAY(SELECT u FROM unnest(v_present) u WHERE u <> ALL (p_members));
    entry_seq := v_match.last_seq + 1;
    entry_at := greatest(v_now, v_match.last_at + 1);

    UPDATE members m SET until_seq = entry_seq, until_at = entry_at
    WHERE m.match_no = v_match.match_no AND m.user_id = ANY (gone);
    INSERT INTO members AS m (match_no, user_id, slot, from_seq, from_at, delivered, read, read_n)
    SELECT v_match.match_no, j.user_id, v_match.slots + j.place, entry_seq, entry_at, entry_seq, entry_seq, v_match.messages
    FROM unnest(joined) WITH ORDINALITY AS j (user_id, place)
    ON CONFLICT (match_no, user_id) DO UPDATE
    SET from_seq = entry_seq, from_at = entry_at, until_seq = NULL, until_at = NULL,
        delivered = entry_seq, read = entry_seq, read_n = v_match.messages;
    INSERT INTO entries (match_no, created_at, seq, n, kind, body)
    VALUES (v_match.match_no, entry_at, entry_seq, v_match.messages, 2,
        convert_to(json_build_object('members', p_members, 'joined', joined, 'left', gone)::text, 'UTF8'));
    UPDATE matches x SET last_seq = entry_seq, last_at = entry_at, slots = x.slots + cardinality(joined), has_blocks =
        EXISTS (SELECT FROM blocks b WHERE b.blocker = ANY (p_members) AND b.blocked = ANY (p_members))
    WHERE x.match_no = v_match.match_no;

    SELECT array_agg(m.user_id ORDER BY m.user_id), array_agg(m.delivered ORDER BY m.user_id),
        array_agg(m.read ORDER BY m.user_id)
    INTO users, delivered, reads
    FROM members m WHERE m.match_no = v_match.match_no AND m.until_seq IS NULL;
    IF p_node IS NOT NULL THEN
        INSERT INTO routes AS r (node, matches, first_ats, last_ats, touched_at)
        VALUES (p_node, ARRAY[p_match], ARRAY[entry_at], ARRAY[entry_at], v_now)
        RETURNING r.route_id INTO route_id;
    END IF;
END $$;

-- Moves members' cursors: to the maximum, not past the last entry, delivered at least read. No member is named twice.
-- delivered and reads are null where nothing moved. Members come as from `append`, of those matches where something did.
CREATE FUNCTION mark(
    p_matches text[], p_users text[], p_delivered bigint[], p_reads bigint[],
    OUT delivered bigint[], OUT reads bigint[], OUT matches text[], OUT users text[]
) LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
#variable_conflict use_column
BEGIN
    -- The locks of `append`, in its order: two that move cursors cannot wait for each other in a circle.
    PERFORM 1 FROM matches x WHERE x.match_id = ANY (p_matches) ORDER BY x.match_no FOR NO KEY UPDATE;
    WITH wanted AS MATERIALIZED (
        SELECT i.place, i.match_id, x.match_no, x.last_seq, x.last_at, x.messages, m.user_id, m.delivered, m.read, m.read_n,
            greatest(m.read, least(i.read, x.last_seq)) AS new_read,
            greatest(m.delivered, m.read, least(greatest(i.delivered, i.read), x.last_seq)) AS new_delivered
        FROM unnest(p_matches, p_users, p_delivered, p_reads)
            WITH ORDINALITY AS i (match_id, user_id, delivered, read, place)
        LEFT JOIN matches x ON x.match_id = i.match_id
        LEFT JOIN members m ON m.match_no = x.match_no AND m.user_id = i.user_id AND m.until_seq IS NULL
    ), moving AS MATERIALIZED (
        SELECT w.*, coalesce(w.new_delivered > w.delivered OR w.new_read > w.read, false) AS moves FROM wanted w
    ), moved AS (
        UPDATE members m SET delivered = w.new_delivered, read = w.new_read, read_n = CASE
            WHEN w.new_read = w.read THEN w.read_n
            WHEN w.new_read = w.last_seq THEN w.messages
            ELSE (SELECT f.n FROM find_entry(w.match_no, w.new_read, w.last_seq, w.last_at) f)
        END
        FROM moving w WHERE w.moves AND m.match_no = w.match_no AND m.user_id = w.user_id
    ), told AS (
        SELECT array_agg(f.match_id) AS matches, array_agg(m.user_id) AS users
        FROM (SELECT DISTINCT match_no, match_id FROM moving WHERE moves) f
        JOIN members m ON m.match_no = f.match_no AND m.until_seq IS NULL
    ), answers AS (
        SELECT array_agg(CASE WHEN a.moves THEN a.new_delivered END) AS delivered,
            array_agg(CASE WHEN a.moves THEN a.new_read END) AS reads
        FROM (SELECT * FROM moving ORDER BY place) a
    )
    SELECT a.delivered, a.reads, t.matches, t.users INTO delivered, reads, matches, users FROM answers a, told t;
END $$;

-- Has one user hear from another one no more, or again; true when that is news. Holds the matches that both are in, so
-- that no message slips through. (The way to it from outside comes with the API.)
CREATE FUNCTION set_block(p_blocker text, p_blocked text, p_is_on boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp AS $$
DECLARE
    v_shared bigint[];
    v_is_news boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('duologue.blocks', 0));
    SELECT array_agg(l.match_no) INTO v_shared FROM (
        SELECT x.match_no FROM matches x
        WHERE x.match_no IN (
            SELECT a.match_no FROM members a JOIN members b USING (match_no)
            WHERE a.user_id = p_blocker AND b.user_id = p_blocked AND a.until_seq IS NULL AND b.until_seq IS NULL
        ) ORDER BY x.match_no FOR NO KEY UPDATE
    ) l;
    IF p_is_on THEN
        INSERT INTO blocks (blocker, blocked) VALUES (p_blocker, p_blocked) ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM blocks WHERE blocker = p_blocker AND blocked = p_blocked;
    END IF;
    v_is_news := FOUND;
    UPDATE matches x SET has_blocks = EXISTS (
        SELECT FROM blocks b
        JOIN members m ON m.user_id = b.blocker AND m.match_no = x.match_no AND m.until_seq IS NULL
        JOIN members o ON o.user_id = b.blocked AND o.match_no = x.match_no AND o.until_seq IS NULL
    ) WHERE x.match_no = ANY (v_shared);
    RETURN v_is_news;
END $$;
