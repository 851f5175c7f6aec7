-- Of the entries of each match after p_reads up to p_lasts: unread messages and missed calls of users whom p_user has blocked.
-- Bounded by what the caller has read before, so that both are of one moment.
DROP FUNCTION hidden_unread(text, text[]);
CREATE FUNCTION hidden_unread(
    p_user text, p_matches text[], p_reads bigint[], p_lasts bigint[], OUT match_id text, OUT amount bigint
) RETURNS SETOF record LANGUAGE sql STABLE SET search_path = duologue, pg_temp AS $$
    SELECT x.match_id, count(*)
    FROM unnest(p_matches, p_reads, p_lasts) AS w (match_id, read, last)
    JOIN matches x ON x.match_id = w.match_id
    CROSS JOIN LATERAL find_entry(x.match_no, w.read, x.last_seq, x.last_at) r
    JOIN entries e ON e.match_no = x.match_no AND e.created_at > r.created_at AND e.seq <= w.last
    WHERE CASE e.kind
        WHEN 1 THEN e.sender IN (
            SELECT o.slot FROM members o JOIN blocks b ON b.blocked = o.user_id
            WHERE b.blocker = p_user AND o.match_no = x.match_no
        )
        WHEN 3 THEN (
            SELECT c.note ->> 'state' = 'missed' AND EXISTS (
                SELECT FROM blocks b WHERE b.blocker = p_user AND b.blocked = c.note ->> 'caller'
            )
            FROM (SELECT convert_from(e.body, 'UTF8')::json AS note) c
        )
        ELSE false
    END
    GROUP BY x.match_id
$$;
