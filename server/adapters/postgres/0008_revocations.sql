-- Tokens that are refused before they expire. By the database's time, which all nodes share: who asks for what is new goes
-- back further than any transaction takes, because one that began earlier may end later.

CREATE TABLE revocations (
    user_id text COLLATE "C" NOT NULL,
    token_id text COLLATE "C" NOT NULL,  -- '' for all tokens that were issued up to issued_before
    issued_before bigint,
    until bigint NOT NULL,               -- from then on every token that is meant has expired by itself
    revoked_at bigint NOT NULL,
    PRIMARY KEY (user_id, token_id)
);

CREATE INDEX revocations_revoked ON revocations (revoked_at);
CREATE INDEX revocations_until ON revocations (until);

CREATE FUNCTION revoke(p_user text, p_token text, p_before bigint, p_until bigint, p_now bigint) RETURNS void
LANGUAGE sql VOLATILE SET search_path = duologue, pg_temp AS $$
    -- Who revokes one of these at this moment has it locked, and it is no longer for us to drop.
    DELETE FROM revocations r USING (
        SELECT user_id, token_id FROM revocations WHERE until <= coalesce(p_now, now_us()) FOR UPDATE SKIP LOCKED
    ) old
    WHERE r.user_id = old.user_id AND r.token_id = old.token_id
        AND (r.user_id, r.token_id) IS DISTINCT FROM (p_user, p_token);
    INSERT INTO revocations AS r (user_id, token_id, issued_before, until, revoked_at)
    VALUES (p_user, p_token, p_before, p_until, coalesce(p_now, now_us()))
    ON CONFLICT (user_id, token_id) DO UPDATE
    SET issued_before = greatest(r.issued_before, excluded.issued_before),
        until = greatest(r.until, excluded.until),
        revoked_at = greatest(r.revoked_at, excluded.revoked_at)
$$;

-- One row at least, so that it tells the time.
CREATE FUNCTION revocations_after(p_at bigint, p_now bigint)
RETURNS TABLE (asked_at bigint, user_id text, token_id text, issued_before bigint, until bigint)
LANGUAGE sql STABLE SET search_path = duologue, pg_temp AS $$
    SELECT clock.at, r.user_id, r.token_id, r.issued_before, r.until
    FROM (SELECT coalesce(p_now, now_us()) AS at) clock LEFT JOIN revocations r ON r.revoked_at > p_at
    ORDER BY r.revoked_at
$$;
