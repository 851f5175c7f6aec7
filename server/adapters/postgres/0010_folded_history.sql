-- History shows of each call the newest entry only: it says how the call is, or how it was. Whoever syncs gets them all.

DROP FUNCTION history(text, text, bigint, bigint, integer, bigint, bigint, bigint);
DROP FUNCTION sync(text, text[], bigint[], bigint[], integer, bigint);
DROP FUNCTION page_of(bigint, bigint, bigint, boolean, integer, bigint);

-- One page of a match, with a row more than fits `p_limit` or, as far as can be told here, `p_budget`, so that the caller
-- sees that there is more. names[i] is the user whose slot is slots[i]. `bytes` is never more than the caller reckons.
CREATE FUNCTION page_of(
    p_match_no bigint, p_first_at bigint, p_last_at bigint, p_is_upward boolean, p_limit integer, p_budget bigint,
    p_is_folded boolean,
    OUT seqs bigint[], OUT times bigint[], OUT counts bigint[], OUT kinds smallint[], OUT senders integer[],
    OUT client_ids text[], OUT reply_tos bigint[], OUT bodies bytea[], OUT slots integer[], OUT names text[],
    OUT bytes bigint
) LANGUAGE plpgsql STABLE SET search_path = duologue, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
BEGIN
    IF p_is_upward THEN
        SELECT array_agg(seq), array_agg(created_at), array_agg(n), array_agg(kind), array_agg(sender),
            array_agg(client_id), array_agg(reply_to), array_agg(body), sum(own)::bigint
        INTO seqs, times, counts, kinds, senders, client_ids, reply_tos, bodies, bytes
        FROM (
            SELECT e.*, row_number() OVER log AS place, sum(e.own) OVER log - e.own AS before
            FROM (
                SELECT entries.*, 200 + CASE kind WHEN 1 THEN octet_length(body) ELSE 0 END AS own FROM entries
                WHERE match_no = p_match_no AND created_at >= p_first_at AND created_at <= p_last_at
                    AND (kind <> 3 OR NOT p_is_folded OR EXISTS (
                        SELECT FROM calls c WHERE c.call_no = reply_to AND c.entry_seq = seq))
                ORDER BY created_at LIMIT p_limit + 1
            ) e
            WINDOW log AS (ORDER BY e.created_at ROWS UNBOUNDED PRECEDING)
        ) page WHERE place <= 2 OR before <= p_budget;
    ELSE
        SELECT array_agg(seq), array_agg(created_at), array_agg(n), array_agg(kind), array_agg(sender),
            array_agg(client_id), array_agg(reply_to), array_agg(body), sum(own)::bigint
        INTO seqs, times, counts, kinds, senders, client_ids, reply_tos, bodies, bytes
        FROM (
            SELECT e.*, row_number() OVER log AS place, sum(e.own) OVER log - e.own AS before
            FROM (
                SELECT entries.*, 200 + CASE kind WHEN 1 THEN octet_length(body) ELSE 0 END AS own FROM entries
                WHERE match_no = p_match_no AND created_at >= p_first_at AND created_at <= p_last_at
                    AND (kind <> 3 OR NOT p_is_folded OR EXISTS (
                        SELECT FROM calls c WHERE c.call_no = reply_to AND c.entry_seq = seq))
                ORDER BY created_at DESC LIMIT p_limit + 1
            ) e
            WINDOW log AS (ORDER BY e.created_at DESC ROWS UNBOUNDED PRECEDING)
        ) page WHERE place <= 2 OR before <= p_budget;
    END IF;
    SELECT array_agg(m.slot), array_agg(m.user_id) INTO slots, names
    FROM members m WHERE m.match_no = p_match_no AND m.slot = ANY (senders);
END $$;

-- status: 0 the page, 1 this replica is behind p_known_seq or p_known_at, 2 no such match or not a member.
CREATE FUNCTION history(
    p_match text, p_viewer text, p_before bigint, p_after bigint, p_limit integer, p_budget bigint,
    p_known_seq bigint, p_known_at bigint, p_is_folded boolean,
    OUT status integer, OUT last_seq bigint,
    OUT seqs bigint[], OUT times bigint[], OUT counts bigint[], OUT kinds smallint[], OUT senders integer[],
    OUT client_ids text[], OUT reply_tos bigint[], OUT bodies bytea[], OUT slots integer[], OUT names text[]
) LANGUAGE plpgsql STABLE SET search_path = duologue, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_match matches;
    v_first_at bigint := 0;
    v_last_at bigint;
    v_page record;
BEGIN
    SELECT * INTO v_match FROM matches x WHERE x.match_id = p_match;
    last_seq := coalesce(v_match.last_seq, 0);
    v_last_at := coalesce(v_match.last_at, 0);
    IF last_seq < p_known_seq OR v_last_at < p_known_at THEN
        status := 1;
        RETURN;
    END IF;
    IF p_viewer IS NOT NULL THEN
        SELECT m.from_at, coalesce(m.until_at, v_last_at) INTO v_first_at, v_last_at
        FROM members m WHERE m.match_no = v_match.match_no AND m.user_id = p_viewer;
    END IF;
    IF v_match.match_no IS NULL OR v_first_at IS NULL THEN
        status := 2;
        RETURN;
    END IF;
    status := 0;
    SELECT * INTO v_page FROM page_of(
        v_match.match_no, greatest(v_first_at, p_after + 1), least(v_last_at, p_before - 1), p_after IS NOT NULL,
        p_limit, p_budget, p_is_folded);
    seqs := v_page.seqs; times := v_page.times; counts := v_page.counts; kinds := v_page.kinds;
    senders := v_page.senders; client_ids := v_page.client_ids; reply_tos := v_page.reply_tos;
    bodies := v_page.bodies; slots := v_page.slots; names := v_page.names;
END $$;

-- What came after each cursor; a row for each match that the user ever was in. p_seqs and p_ats are 0, 0 for the cursor
-- before the first entry.
CREATE FUNCTION sync(
    p_user text, p_matches text[], p_seqs bigint[], p_ats bigint[], p_limit integer, p_budget bigint,
    OUT place integer, OUT last_seq bigint, OUT is_left boolean, OUT is_reset boolean,
    OUT users text[], OUT delivered bigint[], OUT reads bigint[],
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
            m.until_at IS NOT NULL AS is_left
        INTO v_span
        FROM matches x JOIN members m ON m.match_no = x.match_no AND m.user_id = p_user
        WHERE x.match_id = p_matches[i];
        CONTINUE WHEN NOT FOUND;
        place := i;
        last_seq := v_span.last_seq;
        is_left := v_span.is_left;
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
