-- What seems to be of the future is old, too: the database's clock was set back, and nobody shall wait until it is there again.

CREATE OR REPLACE FUNCTION claim_unrouted(p_node text, p_older_us bigint, p_limit integer, p_now bigint)
RETURNS SETOF routes
LANGUAGE sql VOLATILE SET search_path = duologue, pg_temp AS $$
    UPDATE routes r SET node = p_node, touched_at = coalesce(p_now, now_us())
    FROM (
        SELECT route_id FROM routes
        WHERE NOT is_routed AND (
            touched_at <= coalesce(p_now, now_us()) - p_older_us OR touched_at >= coalesce(p_now, now_us()) + p_older_us
        )
        ORDER BY touched_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) old
    WHERE r.route_id = old.route_id
    RETURNING r.*
$$;
