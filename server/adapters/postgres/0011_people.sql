-- Blocks become visible: what a batch is told of them, who reads in private, and how users want to be shown.

-- Of a member who reads in private: how far they are. `read` is what the others are shown; own messages move both.
ALTER TABLE members ADD COLUMN own_read bigint;

CREATE INDEX blocks_of ON blocks (blocked, blocker);

CREATE TABLE presence (
    user_id text COLLATE "C" PRIMARY KEY,
    status text NOT NULL,
    status_text text NOT NULL,
    last_seen text NOT NULL,   -- 'exact' or 'rounded'
    version bigint NOT NULL    -- microseconds of the last change, or more
);

-- Who has blocked whom among the present members of each of these matches.
CREATE FUNCTION blocks_within(p_numbers bigint[], OUT matches text[], OUT blockers text[], OUT blocked text[])
LANGUAGE sql STABLE SET search_path = duologue, pg_temp AS $$
    SELECT array_agg(x.match_id), array_agg(b.blocker), array_agg(b.blocked)
    FROM matches x
    JOIN members m ON m.match_no = x.match_no AND m.until_seq IS NULL
    JOIN blocks b ON b.blocker = m.user_id
    JOIN members o ON o.match_no = x.match_no AND o.user_id = b.blocked AND o.until_seq IS NULL
    WHERE x.match_no = ANY (p_numbers) AND x.has_blocks
$$;

-- As before, and who blocked whom in the matches of the batch that have blocks.
DROP FUNCTION append(text, bigint, bigint, text[], text[], text[], bigint[], bytea[]);
CREATE FUNCTION append(
    p_node text, p_now bigint, p_window bigint,
    p_matches text[], p_senders text[], p_client_ids text[], p_reply_tos bigint[], p_bodies bytea[],
    OUT codes smallint[], OUT seqs bigint[], OUT times bigint[], OUT counts bigint[],
    OUT matches text[], OUT users text[], OUT route_id bigint, OUT timeline text,
    OUT block_matches text[], OUT blockers text[], OUT blocked text[]
) LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
DECLARE
    v_numbers bigint[];
    v_names text[];
    v_has_blocks boolean;
    v_now bigint;
    v_row record;
    v_one record;
    v_route record;
BEGIN
    -- All locks first, in one order everywhere: batches cannot wait for each other in a circle.
    SELECT array_agg(l.match_no), array_agg(l.match_id), bool_or(l.has_blocks) INTO v_numbers, v_names, v_has_blocks FROM (
        SELECT x.match_no, x.match_id, x.has_blocks FROM matches x WHERE x.match_id = ANY (p_matches) ORDER BY x.match_no FOR NO KEY UPDATE
    ) l;
    -- Once, after the locks: a time taken for each row, or before the locks, would not grow with seq.
    v_now := coalesce(p_now, now_us());
    BEGIN
        SELECT p.codes, p.seqs, p.times, p.counts INTO codes, seqs, times, counts
        FROM append_plainly(v_now, p_window, p_matches, p_senders, p_client_ids, p_reply_tos, p_bodies) p;
    EXCEPTION WHEN unique_violation THEN
        codes := array_fill(NULL::smallint, ARRAY[cardinality(p_matches)]);
    END;
    IF array_position(codes, NULL) IS NOT NULL THEN
        FOR v_row IN
            SELECT * FROM unnest(codes, p_matches, p_senders, p_client_ids, p_reply_tos, p_bodies)
            WITH ORDINALITY AS i (code, match_id, user_id, client_id, reply_to, body, place)
            WHERE i.code IS NULL ORDER BY i.place
        LOOP
            SELECT * INTO v_one FROM append_closely(
                v_now, p_window, v_row.match_id, v_row.user_id, v_row.client_id, v_row.reply_to, v_row.body);
            codes[v_row.place] := v_one.code;
            seqs[v_row.place] := v_one.seq;
            times[v_row.place] := v_one.created_at;
            counts[v_row.place] := v_one.n;
        END LOOP;
    END IF;
    SELECT array_agg(l.match_id), array_agg(m.user_id) INTO matches, users
    FROM unnest(v_numbers, v_names) AS l (match_no, match_id)
    JOIN members m ON m.match_no = l.match_no AND m.until_seq IS NULL;
    IF v_has_blocks THEN
        SELECT b.matches, b.blockers, b.blocked INTO block_matches, blockers, blocked FROM blocks_within(v_numbers) b;
    END IF;
    IF p_node IS NOT NULL THEN
        SELECT array_agg(r.match_id) AS matches, array_agg(r.first_at) AS first_ats, array_agg(r.last_at) AS last_ats
        INTO v_route
        FROM (
            SELECT i.match_id, min(i.at) AS first_at, max(i.at) AS last_at
            FROM unnest(p_matches, codes, times) AS i (match_id, code, at) WHERE i.code = 0 GROUP BY i.match_id
        ) r;
        IF v_route.matches IS NOT NULL THEN
            INSERT INTO routes AS r (node, matches, first_ats, last_ats, touched_at)
            VALUES (p_node, v_route.matches, v_route.first_ats, v_route.last_ats, v_now)
            RETURNING r.route_id INTO route_id;
        END IF;
    END IF;
    timeline := timeline_now();
END $$;

-- As before; and of a member who reads in private `reads` is where they are, and `shown_reads` what the others see.
DROP FUNCTION mark(text[], text[], bigint[], bigint[]);
CREATE FUNCTION mark(
    p_matches text[], p_users text[], p_delivered bigint[], p_reads bigint[],
    OUT delivered bigint[], OUT reads bigint[], OUT shown_reads bigint[], OUT matches text[], OUT users text[],
    OUT block_matches text[], OUT blockers text[], OUT blocked text[]
) LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_numbers bigint[];
BEGIN
    -- The locks of `append`, in its order: two that move cursors cannot wait for each other in a circle.
    SELECT array_agg(l.match_no) FILTER (WHERE l.has_blocks) INTO v_numbers FROM (
        SELECT x.match_no, x.has_blocks FROM matches x WHERE x.match_id = ANY (p_matches)
        ORDER BY x.match_no FOR NO KEY UPDATE
    ) l;
    WITH wanted AS MATERIALIZED (
        SELECT i.place, i.match_id, x.match_no, x.last_seq, x.last_at, x.messages, m.user_id, m.delivered, m.read_n,
            m.read AS shown_read, m.own_read, greatest(m.read, m.own_read) AS read,
            greatest(m.read, m.own_read, least(i.read, x.last_seq)) AS new_read,
            greatest(m.delivered, m.read, m.own_read, least(greatest(i.delivered, i.read), x.last_seq)) AS new_delivered
        FROM unnest(p_matches, p_users, p_delivered, p_reads)
            WITH ORDINALITY AS i (match_id, user_id, delivered, read, place)
        LEFT JOIN matches x ON x.match_id = i.match_id
        LEFT JOIN members m ON m.match_no = x.match_no AND m.user_id = i.user_id AND m.until_seq IS NULL
    ), moving AS MATERIALIZED (
        SELECT w.*, coalesce(w.new_delivered > w.delivered OR w.new_read > w.read, false) AS moves FROM wanted w
    ), moved AS (
        UPDATE members m SET delivered = w.new_delivered,
            read = CASE WHEN w.own_read IS NULL THEN w.new_read ELSE w.shown_read END,
            own_read = CASE WHEN w.own_read IS NULL THEN NULL ELSE w.new_read END, read_n = CASE
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
            array_agg(CASE WHEN a.moves THEN a.new_read END) AS reads,
            array_agg(CASE WHEN a.moves AND a.own_read IS NOT NULL THEN a.shown_read END) AS shown_reads
        FROM (SELECT * FROM moving ORDER BY place) a
    )
    SELECT a.delivered, a.reads, a.shown_reads, t.matches, t.users INTO delivered, reads, shown_reads, matches, users
    FROM answers a, told t;
    IF v_numbers IS NOT NULL THEN
        SELECT b.matches, b.blockers, b.blocked INTO block_matches, blockers, blocked FROM blocks_within(v_numbers) b;
    END IF;
END $$;

DROP FUNCTION sync(text, text[], bigint[], bigint[], integer, bigint);
CREATE FUNCTION sync(
    p_user text, p_matches text[], p_seqs bigint[], p_ats bigint[], p_limit integer, p_budget bigint,
    OUT place integer, OUT last_seq bigint, OUT is_left boolean, OUT is_reset boolean,
    OUT own_read bigint, OUT users text[], OUT delivered bigint[], OUT reads bigint[],
    OUT seqs bigint[], OUT times bigint[], OUT counts bigint[], OUT kinds smallint[], OUT senders integer[],
    OUT client_ids text[], OUT reply_tos bigint[], OUT bodies bytea[], OUT slots integer[], OUT names text[]
) RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = duologue, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_span record;
    v_page record;
    v_left bigint := p_budget;
BEGIN
    FOR i IN 1..cardinality(p_matches) LOOP
        SELECT x.match_no, x.last_seq, m.from_at AS first_at, coalesce(m.until_at, x.last_at) AS last_at,
            m.until_at IS NOT NULL AS is_left, m.own_read
        INTO v_span
        FROM matches x JOIN members m ON m.match_no = x.match_no AND m.user_id = p_user
        WHERE x.match_id = p_matches[i];
        CONTINUE WHEN NOT FOUND;
        place := i;
        last_seq := v_span.last_seq;
        is_left := v_span.is_left;
        own_read := v_span.own_read;
        is_reset := (p_seqs[i], p_ats[i]) <> (0, 0) AND NOT (
            p_ats[i] BETWEEN v_span.first_at AND v_span.last_at AND EXISTS (
                SELECT FROM entries e
                WHERE e.match_no = v_span.match_no AND e.created_at = p_ats[i] AND e.seq = p_seqs[i]
            )
        );
        IF is_reset THEN
            v_span.last_at := -1;
        END IF;
        SELECT * INTO v_page FROM page_of(
            v_span.match_no, greatest(v_span.first_at, p_ats[i] + 1), v_span.last_at, true, p_limit, v_left, false);
        v_left := v_left - coalesce(v_page.bytes, 0);
        seqs := v_page.seqs; times := v_page.times; counts := v_page.counts; kinds := v_page.kinds;
        senders := v_page.senders; client_ids := v_page.client_ids; reply_tos := v_page.reply_tos;
        bodies := v_page.bodies; slots := v_page.slots; names := v_page.names;
        users := NULL; delivered := NULL; reads := NULL;
        IF NOT is_left THEN
            SELECT array_agg(r.user_id), array_agg(r.delivered), array_agg(r.read) INTO users, delivered, reads
            FROM (SELECT * FROM members m WHERE m.match_no = v_span.match_no AND m.until_seq IS NULL ORDER BY m.user_id) r;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

DROP FUNCTION summaries(text[], bigint, integer, text[], bigint[]);
CREATE FUNCTION summaries(
    p_users text[], p_before bigint, p_limit integer, p_known_matches text[], p_known_seqs bigint[],
    OUT place bigint, OUT total bigint, OUT match_id text, OUT last_seq bigint, OUT last_at bigint, OUT unread bigint, OUT own_read bigint,
    OUT users text[], OUT delivered bigint[], OUT reads bigint[],
    OUT n bigint, OUT kind smallint, OUT sender text, OUT client_id text, OUT reply_to bigint, OUT body bytea
) RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = duologue, pg_temp
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
BEGIN
    place := 0;
    IF EXISTS (
        SELECT FROM unnest(p_known_matches, p_known_seqs) AS k (match_id, seq)
        LEFT JOIN matches x ON x.match_id = k.match_id WHERE coalesce(x.last_seq, 0) < k.seq
    ) THEN
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT u.place, t.total, t.match_id, t.last_seq, t.last_at, t.unread, t.own_read, r.users, r.delivered, r.reads,
        e.n, e.kind, s.user_id, e.client_id, e.reply_to, e.body
    FROM unnest(p_users) WITH ORDINALITY AS u (user_id, place)
    CROSS JOIN LATERAL (
        SELECT x.match_no, x.match_id, x.last_seq, x.last_at, x.messages - m.read_n AS unread, m.own_read, count(*) OVER () AS total
        FROM members m JOIN matches x ON x.match_no = m.match_no
        WHERE m.user_id = u.user_id AND m.until_seq IS NULL AND x.last_at < p_before
        ORDER BY x.last_at DESC FETCH FIRST p_limit ROWS WITH TIES
    ) t
    CROSS JOIN LATERAL (
        SELECT array_agg(m.user_id) AS users, array_agg(m.delivered) AS delivered, array_agg(m.read) AS reads
        FROM (SELECT * FROM members m WHERE m.match_no = t.match_no AND m.until_seq IS NULL ORDER BY m.user_id) m
    ) r
    JOIN entries e ON e.match_no = t.match_no AND e.created_at = t.last_at
    LEFT JOIN members s ON s.match_no = e.match_no AND s.slot = e.sender
    ORDER BY u.place, t.last_at DESC, t.match_id;
END $$;

-- Null for no member; else what the others are shown from now on, and who blocked whom among the members.
CREATE FUNCTION set_private_read(
    p_match text, p_user text, p_is_on boolean,
    OUT delivered bigint, OUT shown_read bigint, OUT users text[], OUT blockers text[], OUT blocked text[]
) LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_match_no bigint;
BEGIN
    SELECT x.match_no INTO v_match_no FROM matches x WHERE x.match_id = p_match FOR NO KEY UPDATE;
    UPDATE members m SET read = CASE WHEN p_is_on THEN m.read ELSE greatest(m.read, m.own_read) END,
        own_read = CASE WHEN p_is_on THEN greatest(m.read, m.own_read) END
    WHERE m.match_no = v_match_no AND m.user_id = p_user AND m.until_seq IS NULL
    RETURNING m.delivered, m.read INTO delivered, shown_read;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT array_agg(m.user_id ORDER BY m.user_id) INTO users
    FROM members m WHERE m.match_no = v_match_no AND m.until_seq IS NULL;
    SELECT b.blockers, b.blocked INTO blockers, blocked FROM blocks_within(ARRAY[v_match_no]) b;
END $$;

-- A row for each of p_users.
CREATE FUNCTION people(
    p_users text[], OUT place bigint, OUT blocked text[], OUT blocked_by text[],
    OUT status text, OUT status_text text, OUT last_seen text, OUT version bigint
) RETURNS SETOF record LANGUAGE sql STABLE SET search_path = duologue, pg_temp AS $$
    SELECT u.place,
        ARRAY(SELECT b.blocked FROM blocks b WHERE b.blocker = u.user_id),
        ARRAY(SELECT b.blocker FROM blocks b WHERE b.blocked = u.user_id),
        p.status, p.status_text, p.last_seen, p.version
    FROM unnest(p_users) WITH ORDINALITY AS u (user_id, place)
    LEFT JOIN presence p ON p.user_id = u.user_id
    ORDER BY u.place
$$;

-- Null: the user has blocked as many as may be. Else whether it was news.
CREATE FUNCTION block(p_user text, p_other text, p_is_on boolean, p_most bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp AS $$
BEGIN
    IF p_is_on AND (SELECT count(*) FROM blocks b WHERE b.blocker = p_user AND b.blocked <> p_other) >= p_most THEN
        RETURN NULL;
    END IF;
    RETURN set_block(p_user, p_other, p_is_on);
END $$;

CREATE FUNCTION set_presence(
    p_user text, p_status text, p_text text, p_last_seen text, p_now bigint,
    OUT status text, OUT status_text text, OUT last_seen text, OUT version bigint
) LANGUAGE sql VOLATILE SET search_path = duologue, pg_temp AS $$
    INSERT INTO presence AS p (user_id, status, status_text, last_seen, version)
    VALUES (p_user, coalesce(p_status, 'online'), coalesce(p_text, ''), coalesce(p_last_seen, 'exact'),
        coalesce(p_now, now_us()))
    ON CONFLICT (user_id) DO UPDATE
    SET status = coalesce(p_status, p.status), status_text = coalesce(p_text, p.status_text),
        last_seen = coalesce(p_last_seen, p.last_seen), version = greatest(excluded.version, p.version + 1)
    RETURNING p.status, p.status_text, p.last_seen, p.version
$$;

-- Unread messages, in matches of more than two, of users whom p_user has blocked.
CREATE FUNCTION hidden_unread(p_user text, p_matches text[], OUT match_id text, OUT amount bigint)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = duologue, pg_temp AS $$
    SELECT x.match_id, count(*)
    FROM matches x
    JOIN members m ON m.match_no = x.match_no AND m.user_id = p_user AND m.until_seq IS NULL
    CROSS JOIN LATERAL find_entry(x.match_no, greatest(m.read, m.own_read), x.last_seq, x.last_at) r
    JOIN entries e ON e.match_no = x.match_no AND e.created_at > r.created_at AND e.kind = 1
    WHERE x.match_id = ANY (p_matches) AND m.read_n < x.messages
        AND e.sender IN (
            SELECT o.slot FROM members o JOIN blocks b ON b.blocked = o.user_id
            WHERE b.blocker = p_user AND o.match_no = x.match_no
        )
        AND (SELECT count(*) FROM members o WHERE o.match_no = x.match_no AND o.until_seq IS NULL) > 2
    GROUP BY x.match_id
$$;
