-- The record. Text ids live in `matches` and `members` only; inside, a bigint stands for a match and a small slot for a
-- member of it. Every time is in microseconds since the Unix epoch. Ids are compared byte for byte (COLLATE "C").

CREATE TABLE store (
    epoch text NOT NULL  -- one row; with the timeline of the cluster it names this history
);

-- fillfactor: an update of a row that no index knows of stays on its page (HOT). So nothing that moves with a message
-- has an index.
CREATE TABLE matches (
    match_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    match_id text COLLATE "C" NOT NULL UNIQUE,
    last_seq bigint NOT NULL DEFAULT 0,
    last_at bigint NOT NULL DEFAULT 0,
    messages bigint NOT NULL DEFAULT 0,        -- n of the last message
    slots integer NOT NULL DEFAULT 0,          -- slots given so far
    has_blocks boolean NOT NULL DEFAULT false  -- a present member has blocked another one: look closely
) WITH (fillfactor = 70);

CREATE TABLE members (
    match_no bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    slot integer NOT NULL,      -- stands for the user in this match's entries; never given twice
    from_seq bigint NOT NULL,   -- the first entry that this user may see, and its time
    from_at bigint NOT NULL,
    until_seq bigint,           -- the last one, for those who left
    until_at bigint,
    delivered bigint NOT NULL,
    read bigint NOT NULL,
    read_n bigint NOT NULL,     -- n at `read`: what is unread is matches.messages - read_n
    PRIMARY KEY (match_no, user_id)
) WITH (fillfactor = 70);

CREATE INDEX members_of_user ON members (user_id, match_no) WHERE until_seq IS NULL;

-- The log, a leaf for each month. The primary key is the order, the cursor of a page and what prunes the leaves.
CREATE TABLE entries (
    match_no bigint NOT NULL,
    created_at bigint NOT NULL,
    seq bigint NOT NULL,
    n bigint NOT NULL,         -- messages up to here
    reply_to bigint,
    kind smallint NOT NULL,    -- 1 message, 2 members
    sender integer,            -- of messages: the slot
    client_id text COLLATE "C",
    body bytea NOT NULL,       -- JSON, byte for byte as it was pushed
    PRIMARY KEY (match_no, created_at)
) PARTITION BY RANGE (created_at);

-- Who does not want to hear from whom.
CREATE TABLE blocks (
    blocker text COLLATE "C" NOT NULL,
    blocked text COLLATE "C" NOT NULL,
    PRIMARY KEY (blocker, blocked)
);

-- The outbox: one row for each batch, until its entries are known to be on their way to every node.
CREATE TABLE routes (
    route_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node text NOT NULL,
    matches text[] NOT NULL,    -- for each match the times of its first and last new entry
    first_ats bigint[] NOT NULL,
    last_ats bigint[] NOT NULL,
    touched_at bigint NOT NULL, -- when it was made, claimed or routed
    is_routed boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE INDEX routes_waiting ON routes (touched_at) WHERE NOT is_routed;
CREATE INDEX routes_touched ON routes (touched_at);

CREATE FUNCTION now_us() RETURNS bigint LANGUAGE sql VOLATILE
RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

CREATE FUNCTION month_of(p_at bigint) RETURNS timestamp LANGUAGE sql IMMUTABLE
RETURN date_trunc('month', timestamp 'epoch' + p_at * interval '1 microsecond');

CREATE FUNCTION micros_of(p_time timestamp) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN (extract(epoch FROM p_time) * 1000000)::bigint;

-- The cluster's timeline: another one after a promotion, from the first write on.
CREATE FUNCTION timeline_now() RETURNS text LANGUAGE sql VOLATILE
RETURN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
