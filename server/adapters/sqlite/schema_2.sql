-- Schema 2: tokens that are refused before they expire. AUTOINCREMENT: a number is never given twice, so that who asks for
-- what is new misses nothing; a row that is kept anew gets a new one.

CREATE TABLE revocations (
    revocation_no INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    token_id TEXT NOT NULL,     -- '' for all tokens that were issued up to `issued_before`
    issued_before INTEGER,
    until INTEGER NOT NULL,     -- from then on every token that is meant has expired by itself
    UNIQUE (user_id, token_id)
) STRICT;

CREATE INDEX revocations_until ON revocations (until);
