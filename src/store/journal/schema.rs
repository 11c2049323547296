//! What a node's journal looks like in SQLite.

use crate::store::sqlite::Schema;

/// A node's journal.
pub(super) const SCHEMA: Schema = Schema {
    what: "a node's journal",
    application_id: 0x7465_726e,
    migrations: &[FIRST, WATCHED, EARLIER, NARROW, ENTERED],
};

/// Numbers above 2^63 are kept as the negative number with the same bits.
const FIRST: &str = "
-- Whose journal it is.
CREATE TABLE owner (device BLOB NOT NULL) STRICT;

-- Where the node stands in each room (JRN-1). `shown` is the last item that was printed.
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    folded TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    log BLOB, seq INTEGER, stored_at INTEGER, hash BLOB,
    presence INTEGER NOT NULL DEFAULT 0,
    is_numbered INTEGER NOT NULL DEFAULT 0,
    last_n INTEGER NOT NULL DEFAULT 0,
    confirmed_n INTEGER NOT NULL DEFAULT 0,
    confirmed_digest BLOB NOT NULL DEFAULT (zeroblob(32)),
    shown INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What has no outcome yet. Without a handle and a number it is spooled (JRN-6).
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    room INTEGER NOT NULL REFERENCES rooms,
    handle INTEGER UNIQUE,
    n INTEGER,
    typed_at INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    is_spooled INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_by_room ON outbox (room, handle);

-- The outcome of what was spooled: the line, or why there is none.
CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    log BLOB,
    seq INTEGER,
    refusal INTEGER
) STRICT;

-- What was received, in the order in which it is shown: lines, and notices (number above 0).
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    room INTEGER NOT NULL REFERENCES rooms,
    log BLOB,
    seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    account BLOB, device BLOB, author INTEGER, name TEXT NOT NULL,
    n INTEGER, typed_at INTEGER, stored_at INTEGER, body BLOB
) STRICT;
CREATE INDEX items_by_room ON items (room, id);
CREATE INDEX items_by_place ON items (room, seq, number);

-- How far readers with a name have come (JRN-7).
CREATE TABLE cursors (
    name TEXT NOT NULL,
    room INTEGER NOT NULL REFERENCES rooms,
    item INTEGER NOT NULL,
    PRIMARY KEY (name, room)
) STRICT, WITHOUT ROWID;

-- The rooms that somebody beside the node reads, when that was said last, and the first line wanted.
CREATE TABLE wanted (
    room INTEGER PRIMARY KEY REFERENCES rooms,
    at INTEGER NOT NULL,
    first INTEGER
) STRICT;
";

/// Spooled lines of which somebody waits until those who are present have them (CLI-12).
const WATCHED: &str = "
ALTER TABLE outbox ADD COLUMN is_watched INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outcomes ADD COLUMN is_watched INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outcomes ADD COLUMN is_delivered INTEGER NOT NULL DEFAULT 0;
CREATE INDEX outcomes_watched ON outcomes (id) WHERE is_watched;
";

/// What readers ask for that the journal does not hold, and what came of it (JRN-13).
const EARLIER: &str = "
CREATE TABLE asks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    room INTEGER NOT NULL REFERENCES rooms,
    first INTEGER NOT NULL,
    before INTEGER NOT NULL,
    at INTEGER NOT NULL,
    is_answered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE earlier (
    ask INTEGER NOT NULL REFERENCES asks ON DELETE CASCADE,
    log BLOB NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    account BLOB NOT NULL, device BLOB NOT NULL, author INTEGER NOT NULL, name TEXT NOT NULL,
    n INTEGER NOT NULL, typed_at INTEGER NOT NULL, stored_at INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (ask, log, seq)
) STRICT, WITHOUT ROWID;
";

/// The same in fewer places: a line that is sent, received and confirmed changed 13 pages of the
/// file, and changes 4.
///
/// - What the node sends and what others spool are apart: no name is kept for the one, no handle for
///   the other.
/// - Items are numbered in each room, in which they are only ever looked for in that order.
const NARROW: &str = "
-- What has no number yet (JRN-6). An id is never used again: outcomes are kept under it.
CREATE TABLE spool (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    room INTEGER NOT NULL REFERENCES rooms,
    typed_at INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    is_watched INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO spool (id, room, typed_at, kind, body, is_watched)
    SELECT id, room, typed_at, kind, body, is_watched FROM outbox WHERE handle IS NULL;
DELETE FROM sqlite_sequence WHERE name = 'spool';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'spool', seq FROM sqlite_sequence WHERE name = 'outbox';

-- What has a number, and no outcome yet. `spooled` is the id that it had in the spool.
CREATE TABLE sending (
    handle INTEGER PRIMARY KEY,
    room INTEGER NOT NULL REFERENCES rooms,
    n INTEGER NOT NULL,
    typed_at INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    spooled INTEGER,
    is_watched INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO sending (handle, room, n, typed_at, kind, body, spooled, is_watched)
    SELECT handle, room, n, typed_at, kind, body, CASE WHEN is_spooled THEN id END, is_watched
    FROM outbox WHERE handle IS NOT NULL;
DROP TABLE outbox;

-- What was received, in the order in which it is shown: lines, and notices (number above 0).
CREATE TABLE received (
    room INTEGER NOT NULL REFERENCES rooms,
    id INTEGER NOT NULL,
    log BLOB,
    seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    account BLOB, device BLOB, author INTEGER, name TEXT NOT NULL,
    n INTEGER, typed_at INTEGER, stored_at INTEGER, body BLOB,
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID;
INSERT INTO received SELECT room, id, log, seq, number, kind, account, device, author, name,
    n, typed_at, stored_at, body FROM items ORDER BY room, id;
DROP TABLE items;
ALTER TABLE received RENAME TO items;
-- How many items there were: the number of the last.
ALTER TABLE rooms ADD COLUMN items INTEGER NOT NULL DEFAULT 0;
UPDATE rooms SET items = (SELECT coalesce(max(id), 0) FROM items WHERE room = rooms.id);
";

/// After which line the node entered: from there on it has them all (STA-1). A node of an earlier
/// version has reported what it had; what it has from now on is reported by itself.
const ENTERED: &str = "
ALTER TABLE rooms ADD COLUMN entered_after INTEGER NOT NULL DEFAULT 0;
UPDATE rooms SET entered_after = coalesce(seq, 0);
";
