-- Stores a batch of messages, in order, in one transaction and one round trip.
--
-- VOLATILE and PL/pgSQL on purpose: in READ COMMITTED each statement in it sees what was committed before that statement,
-- so that all that follows the locks sees everything that their former holders wrote. One single statement (a chain of
-- CTEs) would not: it loses rows and leaves gaps under concurrency.
--
-- codes: 0 stored, 1 duplicate, 2 client_id conflict, 3 not a member, 4 no such reply, 5 blocked. seqs, times and counts
-- are those of the message that is in the log, for codes 0 and 1. The present members of each match come once, as pairs
-- of a match and a user.

-- Finds the message that has this key already; leaves that lie before the window are not looked at.
CREATE FUNCTION find_sent(p_match_no bigint, p_sender integer, p_client_id text, p_after bigint, p_until bigint)
RETURNS entries LANGUAGE sql STABLE
RETURN (
    SELECT e FROM entries e
    WHERE e.match_no = p_match_no AND e.sender = p_sender AND e.client_id = p_client_id AND e.kind = 1
    AND e.created_at >= p_after AND e.created_at <= p_until
    ORDER BY e.created_at DESC LIMIT 1
);

-- Tells whether, in a match of two, one has blocked the other.
CREATE FUNCTION is_blocked(p_match_no bigint) RETURNS boolean LANGUAGE sql STABLE
RETURN (
    SELECT count(*) = 2 AND bool_or(EXISTS (
        SELECT FROM blocks b JOIN members o ON o.user_id = b.blocked AND o.match_no = p_match_no
        WHERE b.blocker = m.user_id AND o.until_seq IS NULL
    ))
    FROM members m WHERE m.match_no = p_match_no AND m.until_seq IS NULL
);

-- What nearly all rows are: a new message of a member, perhaps a reply to what was there before. Done as a whole; a
-- match with any other row is left to append_closely, which is told by codes that stay null. What is sent twice within
-- this leaf breaks its unique index and with it the statement; what lies in an older leaf is looked for here.
CREATE FUNCTION append_plainly(
    p_now bigint, p_window bigint,
    p_matches text[], p_senders text[], p_client_ids text[], p_reply_tos bigint[], p_bodies bytea[],
    OUT codes smallint[], OUT seqs bigint[], OUT times bigint[], OUT counts bigint[]
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_leaf_from bigint := micros_of(month_of(p_now));
    v_leaf_to bigint := micros_of(month_of(p_now) + interval '1 month');
    v_rows bigint := cardinality(p_matches);
BEGIN
    WITH known AS MATERIALIZED (
        SELECT i.*, x.match_no, x.last_seq, x.messages, m.slot, greatest(p_now, x.last_at + 1) AS first_at,
            m.slot IS NULL OR x.has_blocks
            OR x.last_at + v_rows >= v_leaf_to OR p_now + v_rows >= v_leaf_to
            OR (i.reply_to IS NOT NULL AND (i.reply_to < m.from_seq
                OR (SELECT f.kind FROM find_entry(x.match_no, i.reply_to, x.last_seq, x.last_at) f) IS DISTINCT FROM 1))
            OR EXISTS (
                SELECT FROM entries e
                WHERE e.match_no = x.match_no AND e.sender = m.slot AND e.client_id = i.client_id AND e.kind = 1
                AND e.created_at >= p_now - p_window AND e.created_at < v_leaf_from
            ) AS is_odd
        FROM unnest(p_matches, p_senders, p_client_ids, p_reply_tos, p_bodies)
            WITH ORDINALITY AS i (match_id, user_id, client_id, reply_to, body, place)
        LEFT JOIN matches x ON x.match_id = i.match_id
        LEFT JOIN members m ON m.match_no = x.match_no AND m.user_id = i.user_id AND m.until_seq IS NULL
    ), fresh AS MATERIALIZED (
        SELECT k.*, row_number() OVER same_match AS nth, NOT bool_or(k.is_odd) OVER (PARTITION BY k.match_no) AS is_plain
        FROM known k WINDOW same_match AS (PARTITION BY k.match_no ORDER BY k.place)
    ), added AS (
        INSERT INTO entries (match_no, created_at, seq, n, reply_to, kind, sender, client_id, body)
        SELECT match_no, first_at + nth - 1, last_seq + nth, messages + nth, reply_to, 1, slot, client_id, body
        FROM fresh WHERE is_plain
    ), moved AS (
        UPDATE matches x SET last_seq = x.last_seq + f.nth, last_at = f.first_at + f.nth - 1, messages = x.messages + f.nth
        FROM (SELECT match_no, first_at, max(nth) AS nth FROM fresh WHERE is_plain GROUP BY match_no, first_at) f
        WHERE x.match_no = f.match_no
    ), sent AS (
        UPDATE members m SET delivered = f.seq, read = f.seq, read_n = f.n
        FROM (
            SELECT match_no, user_id, max(last_seq + nth) AS seq, max(messages + nth) AS n
            FROM fresh WHERE is_plain GROUP BY match_no, user_id
        ) f
        WHERE m.match_no = f.match_no AND m.user_id = f.user_id
    )
    SELECT array_agg(CASE WHEN f.is_plain THEN 0::smallint END), array_agg(f.last_seq + f.nth),
        array_agg(f.first_at + f.nth - 1), array_agg(f.messages + f.nth)
    INTO codes, seqs, times, counts
    FROM (SELECT * FROM fresh ORDER BY place) f;
END $$;

-- One row by itself, whatever it is.
CREATE FUNCTION append_closely(
    p_now bigint, p_window bigint,
    p_match text, p_sender text, p_client_id text, p_reply_to bigint, p_body bytea,
    OUT code smallint, OUT seq bigint, OUT created_at bigint, OUT n bigint
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_match matches;
    v_member members;
    v_first entries;
    v_is_member boolean;
BEGIN
    SELECT * INTO v_match FROM matches x WHERE x.match_id = p_match;
    SELECT * INTO v_member FROM members m WHERE m.match_no = v_match.match_no AND m.user_id = p_sender;
    IF v_member.slot IS NULL THEN
        code := 3;
        RETURN;
    END IF;
    v_is_member := v_member.until_seq IS NULL;
    v_first := find_sent(v_match.match_no, v_member.slot, p_client_id, p_now - p_window, v_match.last_at);
    IF v_first.seq IS NOT NULL THEN
        IF v_first.body = p_body AND v_first.reply_to IS NOT DISTINCT FROM p_reply_to THEN
            code := 1; seq := v_first.seq; created_at := v_first.created_at; n := v_first.n;
        ELSE
            code := CASE WHEN v_is_member THEN 2 ELSE 3 END;
        END IF;
        RETURN;
    END IF;
    code := CASE
        WHEN NOT v_is_member THEN 3
        WHEN v_match.has_blocks AND is_blocked(v_match.match_no) THEN 5
        WHEN p_reply_to < v_member.from_seq OR p_reply_to IS NOT NULL AND (
            SELECT f.kind FROM find_entry(v_match.match_no, p_reply_to, v_match.last_seq, v_match.last_at) f
        ) IS DISTINCT FROM 1 THEN 4
        ELSE 0
    END;
    IF code <> 0 THEN
        RETURN;
    END IF;
    seq := v_match.last_seq + 1; created_at := greatest(p_now, v_match.last_at + 1); n := v_match.messages + 1;
    INSERT INTO entries (match_no, created_at, seq, n, reply_to, kind, sender, client_id, body)
    VALUES (v_match.match_no, created_at, seq, n, p_reply_to, 1, v_member.slot, p_client_id, p_body);
    UPDATE matches x SET last_seq = seq, last_at = created_at, messages = n WHERE x.match_no = v_match.match_no;
    UPDATE members m SET delivered = seq, read = seq, read_n = n
    WHERE m.match_no = v_match.match_no AND m.user_id = p_sender;
END $$;

-- p_node: whose outbox row to write; null for none. p_now: null for the database's clock; tests bring their own.
CREATE FUNCTION append(
    p_node text, p_now bigint, p_window bigint,
    p_matches text[], p_senders text[], p_client_ids text[], p_reply_tos bigint[], p_bodies bytea[],
    OUT codes smallint[], OUT seqs bigint[], OUT times bigint[], OUT counts bigint[],
    OUT matches text[], OUT users text[], OUT route_id bigint, OUT timeline text
) LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
DECLARE
    v_numbers bigint[];
    v_names text[];
    v_now bigint;
    v_row record;
    v_one record;
    v_route record;
BEGIN
    -- All locks first, in one order everywhere: batches cannot wait for each other in a circle.
    SELECT array_agg(l.match_no), array_agg(l.match_id) INTO v_numbers, v_names FROM (
        SELECT x.match_no, x.match_id FROM matches x WHERE x.match_id = ANY (p_matches) ORDER BY x.match_no FOR NO KEY UPDATE
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
