-- The outbox. Its owner marks rows as routed; what nobody routed, another node claims; only routed rows are forgotten.

CREATE FUNCTION mark_routed(p_ids bigint[], p_now bigint) RETURNS void
LANGUAGE sql VOLATILE SET search_path = duologue, pg_temp AS $$
    UPDATE routes SET is_routed = true, touched_at = coalesce(p_now, now_us())
    WHERE route_id = ANY (p_ids) AND NOT is_routed
$$;

-- A claimed row belongs to p_node, and nobody else claims it until it is old again.
CREATE FUNCTION claim_unrouted(p_node text, p_older_us bigint, p_limit integer, p_now bigint) RETURNS SETOF routes
LANGUAGE sql VOLATILE SET search_path = duologue, pg_temp AS $$
    UPDATE routes r SET node = p_node, touched_at = coalesce(p_now, now_us())
    FROM (
        SELECT route_id FROM routes
        WHERE NOT is_routed AND touched_at <= coalesce(p_now, now_us()) - p_older_us
        ORDER BY touched_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) old
    WHERE r.route_id = old.route_id
    RETURNING r.*
$$;

-- By the time when a row was last made, claimed or routed, not by its entries': what was routed late was lost late.
CREATE FUNCTION routes_since(p_at bigint) RETURNS SETOF routes
LANGUAGE sql STABLE SET search_path = duologue, pg_temp AS $$
    SELECT * FROM routes WHERE touched_at >= p_at ORDER BY touched_at, route_id
$$;

CREATE FUNCTION expire_routed(p_older_us bigint, p_now bigint) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = duologue, pg_temp AS $$
    WITH gone AS (
        DELETE FROM routes WHERE is_routed AND touched_at <= coalesce(p_now, now_us()) - p_older_us RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
