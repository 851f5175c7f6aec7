-- Schema 3: calls. An entry of one has kind 3, its call_no in reply_to, no sender; `n` grows with missed ones.

CREATE TABLE calls (
    call_no INTEGER PRIMARY KEY,
    call_id TEXT NOT NULL UNIQUE,
    match_no INTEGER NOT NULL,
    version INTEGER NOT NULL,   -- counts the changes, from 1
    change_id TEXT NOT NULL,    -- names the last one
    value BLOB NOT NULL,        -- the state, as JSON
    caller_no INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    is_missed INTEGER NOT NULL,
    deadline_at INTEGER,        -- when its next time-out is due, or when the one that claimed it may have failed
    nodes TEXT NOT NULL,        -- where its seats are, as JSON
    entry_seq INTEGER,          -- its newest entry; its older ones are folded away in history
    is_entry_new INTEGER NOT NULL  -- the last change wrote it
) STRICT;

CREATE UNIQUE INDEX calls_live ON calls (match_no) WHERE ended_at IS NULL;
CREATE INDEX calls_of_match ON calls (match_no, call_no);
CREATE INDEX calls_due ON calls (deadline_at) WHERE deadline_at IS NOT NULL;

CREATE TABLE call_users (
    user_no INTEGER NOT NULL,
    call_no INTEGER NOT NULL,
    is_seated INTEGER NOT NULL,
    PRIMARY KEY (user_no, call_no)
) STRICT, WITHOUT ROWID;

-- A user has a seat in one call at a time.
CREATE UNIQUE INDEX call_users_seated ON call_users (user_no) WHERE is_seated = 1;
CREATE INDEX call_users_of_call ON call_users (call_no);

CREATE TABLE call_settings (
    user_no INTEGER PRIMARY KEY,
    when_busy TEXT NOT NULL,
    relay_only INTEGER NOT NULL
) STRICT;

CREATE TABLE call_nodes (
    node TEXT PRIMARY KEY,
    alive_at INTEGER NOT NULL
) STRICT;
