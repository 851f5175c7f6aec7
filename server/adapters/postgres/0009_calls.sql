-- Calls: one row each, changed together with its entry in the log. The rules are not here: whoever changes a call has worked
-- out its next state from what it read, and is told when that is no longer so.

CREATE TABLE calls (
    call_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    call_id text COLLATE "C" NOT NULL UNIQUE,
    match_no bigint NOT NULL,
    version bigint NOT NULL,    -- counts the changes, from 1
    change_id text NOT NULL,    -- names the last one, so that one that is sent twice is known
    value bytea NOT NULL,       -- the state, as JSON
    caller text COLLATE "C" NOT NULL,
    started_at bigint NOT NULL,
    ended_at bigint,
    is_missed boolean NOT NULL,
    deadline_at bigint,         -- when its next time-out is due, or when the one that claimed it may have failed
    nodes text[] NOT NULL,      -- where its seats are
    entry_seq bigint,           -- its newest entry; its older ones are folded away in history
    entry_at bigint,
    entry_n bigint,
    is_entry_new boolean NOT NULL  -- the last change wrote it
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX calls_live ON calls (match_no) WHERE ended_at IS NULL;
CREATE INDEX calls_of_match ON calls (match_no, call_no);
CREATE INDEX calls_due ON calls (deadline_at) WHERE deadline_at IS NOT NULL;

-- Whose calls they are. A user has a seat in one call at a time.
CREATE TABLE call_users (
    user_id text COLLATE "C" NOT NULL,
    call_no bigint NOT NULL,
    is_seated boolean NOT NULL,
    PRIMARY KEY (user_id, call_no)
);

CREATE UNIQUE INDEX call_users_seated ON call_users (user_id) WHERE is_seated;
CREATE INDEX call_users_of_call ON call_users (call_no);

CREATE TABLE call_settings (
    user_id text COLLATE "C" PRIMARY KEY,
    when_busy text NOT NULL,
    relay_only boolean NOT NULL
);

-- Nodes with seats say that they live; the seats of one that does not are lost.
CREATE TABLE call_nodes (
    node text PRIMARY KEY,
    alive_at bigint NOT NULL
);

-- Changes a call, or makes it with p_version 0. p_members and p_blocks (how many blocks there are between them) are what the
-- decision was made from, null where it did not depend on them. p_entry is the content of an entry, null for none.
-- code: 0 changed, 1 something is not as it was read: another version, another live call, other members, or a user who has
-- a seat elsewhere meanwhile.
CREATE FUNCTION change_call(
    p_node text, p_now bigint, p_call text, p_match text, p_version bigint, p_change text, p_value bytea, p_caller text,
    p_started_at bigint, p_ended_at bigint, p_deadline_at bigint, p_nodes text[], p_users text[], p_seated text[],
    p_members text[], p_blocks bigint, p_entry bytea, p_is_missed boolean,
    OUT code smallint, OUT seq bigint, OUT created_at bigint, OUT n bigint, OUT users text[], OUT route_id bigint
) LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_match matches;
    v_call calls;
    v_now bigint;
BEGIN
    -- The match first, like everybody: two changes cannot wait for each other in a circle.
    SELECT * INTO v_match FROM matches x WHERE x.match_id = p_match FOR NO KEY UPDATE;
    SELECT coalesce(array_agg(m.user_id ORDER BY m.user_id), '{}') INTO users
    FROM members m WHERE m.match_no = v_match.match_no AND m.until_seq IS NULL;
    SELECT * INTO v_call FROM calls c WHERE c.call_id = p_call FOR NO KEY UPDATE;
    IF v_call.change_id = p_change THEN
        code := 0;
        IF v_call.is_entry_new THEN
            seq := v_call.entry_seq; created_at := v_call.entry_at; n := v_call.entry_n;
        END IF;
        RETURN;
    END IF;
    code := 1;
    IF v_match.match_no IS NULL OR coalesce(v_call.version, 0) <> p_version OR users <> p_members
        OR p_blocks <> (SELECT count(*) FROM blocks b WHERE b.blocker = ANY (users) AND b.blocked = ANY (users)) THEN
        RETURN;
    END IF;

    v_now := coalesce(p_now, now_us());
    -- In a block of its own: what an index refuses is undone as a whole, and is news to the caller.
    BEGIN
        IF p_version = 0 THEN
            INSERT INTO calls AS c (call_id, match_no, version, change_id, value, caller, started_at, ended_at, is_missed,
                deadline_at, nodes, is_entry_new)
            VALUES (p_call, v_match.match_no, 1, p_change, p_value, p_caller, p_started_at, p_ended_at, p_is_missed,
                p_deadline_at, p_nodes, p_entry IS NOT NULL)
            RETURNING c.* INTO v_call;
        ELSE
            UPDATE calls c SET version = p_version + 1, change_id = p_change, value = p_value, ended_at = p_ended_at,
                is_missed = c.is_missed OR p_is_missed, deadline_at = p_deadline_at, nodes = p_nodes,
                is_entry_new = p_entry IS NOT NULL
            WHERE c.call_no = v_call.call_no;
        END IF;
        UPDATE call_users u SET is_seated = false
        WHERE u.call_no = v_call.call_no AND u.is_seated AND u.user_id <> ALL (p_seated);
        INSERT INTO call_users AS u (user_id, call_no, is_seated)
        SELECT i.user_id, v_call.call_no, i.user_id = ANY (p_seated) FROM unnest(p_users) AS i (user_id)
        ORDER BY i.user_id
        ON CONFLICT (user_id, call_no) DO UPDATE SET is_seated = excluded.is_seated
        WHERE u.is_seated <> excluded.is_seated;
    EXCEPTION WHEN unique_violation THEN
        RETURN;
    END;
    code := 0;
    IF p_entry IS NULL THEN
        RETURN;
    END IF;
    seq := v_match.last_seq + 1;
    created_at := greatest(v_now, v_match.last_at + 1);
    n := v_match.messages + p_is_missed::integer;
    INSERT INTO entries (match_no, created_at, seq, n, reply_to, kind, body)
    VALUES (v_match.match_no, created_at, seq, n, v_call.call_no, 3, p_entry);
    UPDATE matches x SET last_seq = seq, last_at = created_at, messages = n WHERE x.match_no = v_match.match_no;
    UPDATE calls c SET entry_seq = seq, entry_at = created_at, entry_n = n WHERE c.call_no = v_call.call_no;
    IF p_is_missed THEN
        -- Nobody's own call is unread to them, unless something before it is.
        UPDATE members m SET delivered = seq, read = seq, read_n = n
        WHERE m.match_no = v_match.match_no AND m.user_id = p_caller AND m.until_seq IS NULL AND m.read_n = v_match.messages;
    END IF;
    IF p_node IS NOT NULL THEN
        INSERT INTO routes AS r (node, matches, first_ats, last_ats, touched_at)
        VALUES (p_node, ARRAY[p_match], ARRAY[created_at], ARRAY[created_at], v_now)
        RETURNING r.route_id INTO route_id;
    END IF;
END $$;

-- All that a decision needs, of one moment: the call p_call, or with null the newest call of p_match; who is in its match, who of
-- them has blocked whom, how they want to be called, where they have a seat; how many of p_caller's calls there nobody took
-- since p_since_us ago.
CREATE FUNCTION call_view(
    p_call text, p_match text, p_caller text, p_since_us bigint, p_now bigint,
    OUT asked_at bigint, OUT match_id text, OUT call_id text, OUT version bigint, OUT value bytea,
    OUT users text[], OUT blockers text[], OUT blocked text[], OUT seated text[], OUT seats text[],
    OUT settled text[], OUT when_busy text[], OUT relay_only boolean[], OUT unanswered bigint
) LANGUAGE plpgsql STABLE SET search_path = duologue, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_match matches;
BEGIN
    asked_at := coalesce(p_now, now_us());
    IF p_call IS NULL THEN
        SELECT * INTO v_match FROM matches x WHERE x.match_id = p_match;
        SELECT c.call_id, c.version, c.value INTO call_id, version, value
        FROM calls c WHERE c.match_no = v_match.match_no ORDER BY c.call_no DESC LIMIT 1;
    ELSE
        SELECT c.call_id, c.version, c.value INTO call_id, version, value FROM calls c WHERE c.call_id = p_call;
        SELECT x.* INTO v_match FROM matches x JOIN calls c USING (match_no) WHERE c.call_id = p_call;
    END IF;
    match_id := v_match.match_id;
    SELECT coalesce(array_agg(m.user_id ORDER BY m.user_id), '{}') INTO users
    FROM members m WHERE m.match_no = v_match.match_no AND m.until_seq IS NULL;
    IF v_match.has_blocks THEN
        SELECT array_agg(b.blocker), array_agg(b.blocked) INTO blockers, blocked
        FROM blocks b WHERE b.blocker = ANY (users) AND b.blocked = ANY (users);
    END IF;
    SELECT array_agg(u.user_id), array_agg(c.call_id) INTO seated, seats
    FROM call_users u JOIN calls c USING (call_no) WHERE u.is_seated AND u.user_id = ANY (users);
    SELECT array_agg(s.user_id), array_agg(s.when_busy), array_agg(s.relay_only) INTO settled, when_busy, relay_only
    FROM call_settings s WHERE s.user_id = ANY (users);
    SELECT count(*) INTO unanswered FROM calls c
    WHERE c.match_no = v_match.match_no AND c.caller = p_caller AND c.is_missed AND c.started_at > asked_at - p_since_us;
END $$;

-- Live calls of the matches of each of p_users: to ring, to go on with, to join.
CREATE FUNCTION live_calls(p_users text[])
RETURNS TABLE (place bigint, match_id text, call_id text, version bigint, value bytea)
LANGUAGE plpgsql STABLE SET search_path = duologue, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    -- As it is nearly always, and everybody who connects asks.
    IF NOT EXISTS (SELECT FROM calls c WHERE c.ended_at IS NULL) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT u.place, x.match_id, c.call_id, c.version, c.value
    FROM unnest(p_users) WITH ORDINALITY AS u (user_id, place)
    JOIN members m ON m.user_id = u.user_id AND m.until_seq IS NULL
    JOIN calls c ON c.match_no = m.match_no AND c.ended_at IS NULL
    JOIN matches x ON x.match_no = c.match_no
    ORDER BY c.call_no;
END $$;

-- Calls whose time-out is due. Whoever claims one has p_claim_us to change it; then it is anybody's again.
CREATE FUNCTION claim_due_calls(p_claim_us bigint, p_limit integer, p_now bigint)
RETURNS TABLE (asked_at bigint, match_id text, call_id text, version bigint, value bytea)
LANGUAGE sql VOLATILE SET search_path = duologue, pg_temp AS $$
    WITH due AS (
        SELECT c.call_no FROM calls c WHERE c.deadline_at <= coalesce(p_now, now_us())
        ORDER BY c.deadline_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE calls c SET deadline_at = coalesce(p_now, now_us()) + p_claim_us FROM due d
        WHERE c.call_no = d.call_no RETURNING c.*
    )
    SELECT coalesce(p_now, now_us()), x.match_id, c.call_id, c.version, c.value
    FROM claimed c JOIN matches x USING (match_no)
$$;

-- p_node lives, if it is not null. Live calls with a seat on a node that was silent for p_silent_us, and which those are.
CREATE FUNCTION orphaned_calls(p_node text, p_silent_us bigint, p_limit integer, p_now bigint)
RETURNS TABLE (asked_at bigint, match_id text, call_id text, version bigint, value bytea, dead text[])
LANGUAGE plpgsql VOLATILE SET search_path = duologue, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_now, now_us());
BEGIN
    IF p_node IS NOT NULL THEN
        INSERT INTO call_nodes (node, alive_at) VALUES (p_node, v_now)
        ON CONFLICT (node) DO UPDATE SET alive_at = excluded.alive_at;
        -- Long after the last of its calls has been ended.
        DELETE FROM call_nodes o WHERE o.alive_at < v_now - 86400000000;
    END IF;
    RETURN QUERY
    SELECT v_now, x.match_id, c.call_id, c.version, c.value, d.dead
    FROM calls c JOIN matches x USING (match_no) CROSS JOIN LATERAL (
        SELECT array_agg(w.node) AS dead FROM unnest(c.nodes) AS w (node)
        WHERE w.node IS DISTINCT FROM p_node AND NOT EXISTS (
            SELECT FROM call_nodes o WHERE o.node = w.node AND o.alive_at > v_now - p_silent_us
        )
    ) d
    WHERE c.ended_at IS NULL AND d.dead IS NOT NULL LIMIT p_limit;
END $$;

-- Newest first, below the call p_before; a row more than p_limit when there is one.
CREATE FUNCTION calls_page(p_user text, p_match text, p_before text, p_limit integer)
RETURNS TABLE (match_id text, call_id text, version bigint, value bytea)
LANGUAGE plpgsql STABLE SET search_path = duologue, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_before bigint := coalesce((SELECT c.call_no FROM calls c WHERE c.call_id = p_before), 9223372036854775807);
    v_match_no bigint := (SELECT x.match_no FROM matches x WHERE x.match_id = p_match);
BEGIN
    IF p_user IS NOT NULL THEN
        RETURN QUERY SELECT x.match_id, c.call_id, c.version, c.value
        FROM call_users u JOIN calls c USING (call_no) JOIN matches x USING (match_no)
        WHERE u.user_id = p_user AND u.call_no < v_before AND (p_match IS NULL OR c.match_no = v_match_no)
        ORDER BY u.call_no DESC LIMIT p_limit + 1;
    ELSE
        RETURN QUERY SELECT x.match_id, c.call_id, c.version, c.value
        FROM calls c JOIN matches x USING (match_no)
        WHERE c.call_no < v_before AND (p_match IS NULL OR c.match_no = v_match_no)
        ORDER BY c.call_no DESC LIMIT p_limit + 1;
    END IF;
END $$;

CREATE FUNCTION set_call_settings(p_user text, p_when_busy text, p_relay_only boolean) RETURNS void
LANGUAGE sql VOLATILE SET search_path = duologue, pg_temp AS $$
    INSERT INTO call_settings (user_id, when_busy, relay_only) VALUES (p_user, p_when_busy, p_relay_only)
    ON CONFLICT (user_id) DO UPDATE SET when_busy = excluded.when_busy, relay_only = excluded.relay_only
$$;
