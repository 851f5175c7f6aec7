-- Every statement of the embedded store; sqlite_statements.py cuts this at the names.
-- CROSS JOIN keeps SQLite to the order written (https://www.sqlite.org/optoverview.html, section 6.5).

-- name: find_user
SELECT user_no FROM users WHERE user_id = ?;

-- name: add_user
INSERT INTO users (user_id) VALUES (?);

-- name: find_match
SELECT match_no, last_seq, last_at, messages FROM matches WHERE match_id = ?;

-- name: add_match
INSERT INTO matches (match_id, last_seq, last_at, messages) VALUES (?, 0, 0, 0);

-- name: move_match
UPDATE matches SET last_seq = ?, last_at = ?, messages = ? WHERE match_no = ?;

-- name: present_members
SELECT u.user_id, m.user_no, m.from_seq
FROM members m CROSS JOIN users u ON u.user_no = m.user_no
WHERE m.match_no = ? AND m.until_seq IS NULL
ORDER BY u.user_id;

-- name: join_match
INSERT INTO members (match_no, user_no, from_seq, until_seq, delivered, read, read_n)
VALUES (:match_no, :user_no, :seq, NULL, :seq, :seq, :n)
ON CONFLICT (match_no, user_no) DO UPDATE
SET from_seq = :seq, until_seq = NULL, delivered = :seq, read = :seq, read_n = :n;

-- name: leave_match
UPDATE members SET until_seq = ? WHERE match_no = ? AND user_no = ?;

-- name: cursors_of_member
SELECT delivered, max(read, coalesce(own_read, 0)), read_n, CASE WHEN own_read IS NULL THEN NULL ELSE read END
FROM members WHERE match_no = ? AND user_no = ?;

-- name: move_member
UPDATE members SET delivered = ?, read = ?, read_n = ? WHERE match_no = ? AND user_no = ?;

-- name: move_in_private
UPDATE members SET delivered = ?, own_read = ?, read_n = ? WHERE match_no = ? AND user_no = ?;

-- name: read_in_private
UPDATE members SET own_read = max(read, coalesce(own_read, 0)) WHERE match_no = ? AND user_no = ?;

-- name: read_in_public
UPDATE members SET read = max(read, coalesce(own_read, 0)), own_read = NULL WHERE match_no = ? AND user_no = ?;

-- name: blocks_among_members
SELECT b.blocker, b.blocked
FROM members m CROSS JOIN users u ON u.user_no = m.user_no CROSS JOIN blocks b ON b.blocker = u.user_id
WHERE m.match_no = ? AND m.until_seq IS NULL
ORDER BY b.blocker, b.blocked;

-- name: count_blocks
SELECT count(*) FROM blocks WHERE blocker = ? AND blocked <> ?;

-- name: add_block
INSERT OR IGNORE INTO blocks (blocker, blocked) VALUES (?, ?);

-- name: drop_block
DELETE FROM blocks WHERE blocker = ? AND blocked = ?;

-- name: blocks_of_users
SELECT wanted.value, b.blocked, 1 FROM json_each(:users) wanted CROSS JOIN blocks b ON b.blocker = wanted.value
UNION ALL
SELECT wanted.value, b.blocker, 0 FROM json_each(:users) wanted CROSS JOIN blocks b ON b.blocked = wanted.value;

-- name: presence_of_users
SELECT p.user_id, p.status, p.status_text, p.last_seen, p.version
FROM json_each(?) wanted CROSS JOIN presence p ON p.user_id = wanted.value;

-- name: set_presence
INSERT OR REPLACE INTO presence (user_id, status, status_text, last_seen, version) VALUES (?, ?, ?, ?, ?);

-- name: hidden_unread
SELECT x.match_id, count(*)
FROM json_each(:wanted) wanted
CROSS JOIN matches x ON x.match_id = wanted.value ->> 0
CROSS JOIN entries e ON e.match_no = x.match_no AND e.seq > wanted.value ->> 1 AND e.seq <= wanted.value ->> 2
LEFT JOIN users u ON u.user_no = e.sender_no
WHERE EXISTS (
    SELECT 1 FROM blocks b WHERE b.blocker = :user AND b.blocked = CASE
        WHEN e.kind = 1 THEN u.user_id
        WHEN e.kind = 3 AND CAST(e.body AS TEXT) ->> 'state' = 'missed' THEN CAST(e.body AS TEXT) ->> 'caller'
    END
)
GROUP BY x.match_id;

-- name: add_entry
INSERT INTO entries (match_no, created_at, seq, n, kind, sender_no, client_id, keyed, reply_to, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: find_sent
SELECT seq, created_at, n, reply_to, body FROM entries INDEXED BY entries_client
WHERE client_id = ? AND match_no = ? AND sender_no = ? AND keyed = 1;

-- name: give_up_key
UPDATE entries SET keyed = NULL WHERE match_no = ? AND created_at = ?;

-- name: kind_at
SELECT kind FROM entries WHERE match_no = ? AND seq = ?;

-- name: count_at
SELECT n FROM entries WHERE match_no = ? AND seq = ?;

-- name: epoch
SELECT epoch FROM store;

-- name: add_nothing
INSERT INTO store (epoch) VALUES ('');

-- name: remove_nothing
DELETE FROM store WHERE epoch = '';

-- name: members_of_match
SELECT u.user_id
FROM matches x
CROSS JOIN members m ON m.match_no = x.match_no AND m.until_seq IS NULL
CROSS JOIN users u ON u.user_no = m.user_no
WHERE x.match_id = ?;

-- name: receipts_of_match
SELECT u.user_id, m.delivered, m.read
FROM members m CROSS JOIN users u ON u.user_no = m.user_no
WHERE m.match_no = ? AND m.until_seq IS NULL
ORDER BY u.user_id;

-- name: partners
SELECT DISTINCT other.user_id
FROM json_each(:among) wanted
CROSS JOIN users other ON other.user_id = wanted.value
CROSS JOIN members theirs ON theirs.user_no = other.user_no AND theirs.until_seq IS NULL
CROSS JOIN members mine ON mine.match_no = theirs.match_no AND mine.until_seq IS NULL
AND mine.user_no = (SELECT user_no FROM users WHERE user_id = :user);

-- name: matches_of_users
SELECT wanted.key, x.last_at, x.match_id, x.match_no, x.last_seq, x.messages - m.read_n, u.user_id, m.own_read
FROM json_each(:users) wanted
CROSS JOIN users u ON u.user_id = wanted.value
CROSS JOIN members m ON m.user_no = u.user_no AND m.until_seq IS NULL
CROSS JOIN matches x ON x.match_no = m.match_no
WHERE x.last_at < :before
ORDER BY wanted.key, x.last_at DESC, x.match_id;

-- name: members_of_matches
SELECT m.match_no, u.user_id, m.delivered, m.read
FROM json_each(?) wanted
CROSS JOIN members m ON m.match_no = wanted.value AND m.until_seq IS NULL
CROSS JOIN users u ON u.user_no = m.user_no;

-- name: last_entries
SELECT e.match_no, x.match_id, e.seq, e.created_at, e.n, e.kind, u.user_id, e.client_id, e.reply_to, e.body
FROM json_each(?) wanted
CROSS JOIN matches x ON x.match_no = wanted.value
CROSS JOIN entries e ON e.match_no = x.match_no AND e.created_at = x.last_at
LEFT JOIN users u ON u.user_no = e.sender_no;

-- name: span_of_match
SELECT match_no, 0, 0, last_at, NULL FROM matches WHERE match_id = ?;

-- name: span_of_member
SELECT x.match_no, m.until_seq IS NOT NULL, first.created_at,
CASE WHEN m.until_seq IS NULL THEN x.last_at
ELSE (SELECT created_at FROM entries WHERE match_no = x.match_no AND seq = m.until_seq) END,
m.own_read
FROM matches x
CROSS JOIN users u ON u.user_id = :user
CROSS JOIN members m ON m.match_no = x.match_no AND m.user_no = u.user_no
CROSS JOIN entries first ON first.match_no = x.match_no AND first.seq = m.from_seq
WHERE x.match_id = :match;

-- name: seq_at
SELECT seq FROM entries WHERE match_no = ? AND created_at = ?;

-- name: entries_down
SELECT e.seq, e.created_at, e.n, e.kind, u.user_id, e.client_id, e.reply_to, e.body
FROM entries e LEFT JOIN users u ON u.user_no = e.sender_no
WHERE e.match_no = ? AND e.created_at >= ? AND e.created_at <= ?
ORDER BY e.created_at DESC LIMIT ?;

-- name: entries_up
SELECT e.seq, e.created_at, e.n, e.kind, u.user_id, e.client_id, e.reply_to, e.body
FROM entries e LEFT JOIN users u ON u.user_no = e.sender_no
WHERE e.match_no = ? AND e.created_at >= ? AND e.created_at <= ?
ORDER BY e.created_at LIMIT ?;

-- name: drop_revocations
DELETE FROM revocations WHERE until <= ?;

-- name: add_revocation
INSERT OR REPLACE INTO revocations (user_id, token_id, issued_before, until)
SELECT :user_id, :token_id, max(:issued_before, coalesce(max(issued_before), :issued_before)),
    max(:until, coalesce(max(until), :until))
FROM revocations WHERE user_id = :user_id AND token_id = :token_id;

-- name: revocations
SELECT revocation_no, user_id, token_id, issued_before, until FROM revocations WHERE revocation_no > ?
ORDER BY revocation_no;

-- name: entries_down_folded
SELECT e.seq, e.created_at, e.n, e.kind, u.user_id, e.client_id, e.reply_to, e.body
FROM entries e LEFT JOIN users u ON u.user_no = e.sender_no
WHERE e.match_no = ? AND e.created_at >= ? AND e.created_at <= ?
AND (e.kind <> 3 OR EXISTS (SELECT 1 FROM calls c WHERE c.call_no = e.reply_to AND c.entry_seq = e.seq))
ORDER BY e.created_at DESC LIMIT ?;

-- name: entries_up_folded
SELECT e.seq, e.created_at, e.n, e.kind, u.user_id, e.client_id, e.reply_to, e.body
FROM entries e LEFT JOIN users u ON u.user_no = e.sender_no
WHERE e.match_no = ? AND e.created_at >= ? AND e.created_at <= ?
AND (e.kind <> 3 OR EXISTS (SELECT 1 FROM calls c WHERE c.call_no = e.reply_to AND c.entry_seq = e.seq))
ORDER BY e.created_at LIMIT ?;

-- name: entry_at_seq
SELECT created_at, n, body FROM entries WHERE match_no = ? AND seq = ?;

-- name: find_call
SELECT call_no, version, change_id, entry_seq, is_entry_new FROM calls WHERE call_id = ?;

-- name: add_call
INSERT INTO calls (call_id, match_no, version, change_id, value, caller_no, started_at, ended_at, is_missed, deadline_at,
    nodes, entry_seq, is_entry_new)
VALUES (:call, :match_no, 1, :change, :value, :caller_no, :started_at, :ended_at, :is_missed, :deadline_at,
    :nodes, :entry_seq, :is_entry_new);

-- name: change_call
UPDATE calls SET version = version + 1, change_id = :change, value = :value, ended_at = :ended_at,
    is_missed = max(is_missed, :is_missed), deadline_at = :deadline_at, nodes = :nodes,
    entry_seq = coalesce(:entry_seq, entry_seq), is_entry_new = :is_entry_new
WHERE call_no = :call_no;

-- name: leave_seats
UPDATE call_users SET is_seated = 0 WHERE call_no = ? AND is_seated = 1;

-- name: add_call_user
INSERT INTO call_users (user_no, call_no, is_seated) VALUES (?, ?, ?)
ON CONFLICT (user_no, call_no) DO UPDATE SET is_seated = excluded.is_seated;

-- name: call_by_id
SELECT x.match_id, x.match_no, c.call_id, c.version, c.value
FROM calls c CROSS JOIN matches x ON x.match_no = c.match_no WHERE c.call_id = ?;

-- name: newest_call
SELECT x.match_id, x.match_no, c.call_id, c.version, c.value
FROM matches x LEFT JOIN calls c ON c.call_no = (SELECT max(call_no) FROM calls WHERE match_no = x.match_no)
WHERE x.match_id = ?;

-- name: seats_of_members
SELECT u.user_id, c.call_id
FROM members m
CROSS JOIN call_users s ON s.user_no = m.user_no AND s.is_seated = 1
CROSS JOIN calls c ON c.call_no = s.call_no
CROSS JOIN users u ON u.user_no = m.user_no
WHERE m.match_no = ? AND m.until_seq IS NULL;

-- name: settings_of_members
SELECT u.user_id, s.when_busy, s.relay_only
FROM members m
CROSS JOIN call_settings s ON s.user_no = m.user_no
CROSS JOIN users u ON u.user_no = m.user_no
WHERE m.match_no = ? AND m.until_seq IS NULL;

-- name: unanswered
SELECT count(*) FROM calls
WHERE match_no = ? AND caller_no = (SELECT user_no FROM users WHERE user_id = ?) AND is_missed = 1 AND started_at > ?;

-- name: is_any_call_live
SELECT EXISTS (SELECT 1 FROM calls WHERE ended_at IS NULL);

-- name: live_calls
SELECT wanted.key, x.match_id, x.match_no, c.call_id, c.version, c.value
FROM json_each(?) wanted
CROSS JOIN users u ON u.user_id = wanted.value
CROSS JOIN members m ON m.user_no = u.user_no AND m.until_seq IS NULL
CROSS JOIN calls c ON c.match_no = m.match_no AND c.ended_at IS NULL
CROSS JOIN matches x ON x.match_no = c.match_no
ORDER BY c.call_no;

-- name: due_calls
SELECT x.match_id, x.match_no, c.call_id, c.version, c.value
FROM calls c CROSS JOIN matches x ON x.match_no = c.match_no
WHERE c.deadline_at <= ? ORDER BY c.deadline_at LIMIT ?;

-- name: claim_call
UPDATE calls SET deadline_at = ? WHERE call_id = ?;

-- name: node_lives
INSERT INTO call_nodes (node, alive_at) VALUES (?, ?) ON CONFLICT (node) DO UPDATE SET alive_at = excluded.alive_at;

-- name: nodes_alive
SELECT node FROM call_nodes WHERE alive_at > ?;

-- name: forget_nodes
DELETE FROM call_nodes WHERE alive_at < ?;

-- name: seated_calls
SELECT x.match_id, x.match_no, c.call_id, c.version, c.value, c.nodes
FROM calls c CROSS JOIN matches x ON x.match_no = c.match_no
WHERE c.ended_at IS NULL AND c.nodes <> '[]';

-- name: calls_of_user
SELECT x.match_id, x.match_no, c.call_id, c.version, c.value
FROM users u
CROSS JOIN call_users s ON s.user_no = u.user_no
CROSS JOIN calls c ON c.call_no = s.call_no
CROSS JOIN matches x ON x.match_no = c.match_no
WHERE u.user_id = :user AND s.call_no < coalesce((SELECT call_no FROM calls WHERE call_id = :before), 9223372036854775807)
AND (:match IS NULL OR x.match_id = :match)
ORDER BY s.call_no DESC LIMIT :limit;

-- name: calls_of_match
SELECT x.match_id, x.match_no, c.call_id, c.version, c.value
FROM calls c CROSS JOIN matches x ON x.match_no = c.match_no
WHERE c.call_no < coalesce((SELECT call_no FROM calls WHERE call_id = :before), 9223372036854775807)
AND (:match IS NULL OR c.match_no = (SELECT match_no FROM matches WHERE match_id = :match))
ORDER BY c.call_no DESC LIMIT :limit;

-- name: set_call_settings
INSERT INTO call_settings (user_no, when_busy, relay_only) VALUES (?, ?, ?)
ON CONFLICT (user_no) DO UPDATE SET when_busy = excluded.when_busy, relay_only = excluded.relay_only;

-- name: call_settings
SELECT s.when_busy, s.relay_only FROM users u CROSS JOIN call_settings s ON s.user_no = u.user_no WHERE u.user_id = ?;
