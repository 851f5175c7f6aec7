-- Schema 4: who does not want to hear from whom, how users want to be shown, and who reads in private.

CREATE TABLE blocks (
    blocker TEXT NOT NULL,
    blocked TEXT NOT NULL,
    PRIMARY KEY (blocker, blocked)
) STRICT, WITHOUT ROWID;

CREATE INDEX blocks_of ON blocks (blocked, blocker);

CREATE TABLE presence (
    user_id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    status_text TEXT NOT NULL,
    last_seen TEXT NOT NULL,    -- 'exact' or 'rounded'
    version INTEGER NOT NULL    -- microseconds of the last change, or more
) STRICT, WITHOUT ROWID;

-- Of a member who reads in private: how far they are. `read` is what the others are shown; both move with own messages.
ALTER TABLE members ADD COLUMN own_read INTEGER;
