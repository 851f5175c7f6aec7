-- The embedded store, schema 1; later ones are beside it. Text ids live in `users` and `matches` only; inside, integers stand for them.
-- PRAGMA application_id and user_version are set by sqlite_file.py in the same transaction.

CREATE TABLE store (
    epoch TEXT NOT NULL  -- one row; another value means another history
) STRICT;

CREATE TABLE users (
    user_no INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE matches (
    match_no INTEGER PRIMARY KEY,
    match_id TEXT NOT NULL UNIQUE,
    last_seq INTEGER NOT NULL,
    last_at INTEGER NOT NULL,   -- microseconds since the Unix epoch, as every time here
    messages INTEGER NOT NULL   -- n of the last message
) STRICT;

CREATE TABLE members (
    match_no INTEGER NOT NULL,
    user_no INTEGER NOT NULL,
    from_seq INTEGER NOT NULL,  -- the first entry that this user may see
    until_seq INTEGER,          -- the last one, for those who left
    delivered INTEGER NOT NULL,
    read INTEGER NOT NULL,
    read_n INTEGER NOT NULL,    -- n at `read`: what is unread is matches.messages - read_n
    PRIMARY KEY (match_no, user_no)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_of_user ON members (user_no, match_no) WHERE until_seq IS NULL;

-- Clustered by match and time: a page of history is a run of neighbours.
CREATE TABLE entries (
    match_no INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,         -- messages up to here
    kind INTEGER NOT NULL,      -- 1 message, 2 members
    sender_no INTEGER,          -- of messages
    client_id TEXT,             -- of messages
    keyed INTEGER,              -- 1 for messages, until their client_id comes again after 35 days
    reply_to INTEGER,
    body BLOB NOT NULL,         -- JSON, byte for byte as it was pushed
    PRIMARY KEY (match_no, created_at)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX entries_seq ON entries (match_no, seq);

-- The key of a message. By client_id first: ids that grow with time (UUIDv7) then go to one end of the index, and a
-- batch changes one page of it instead of one for each match (a third of a commit).
CREATE UNIQUE INDEX entries_client ON entries (client_id, match_no, sender_no) WHERE keyed = 1;
