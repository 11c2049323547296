//! The tables of a broker's log (STO-4).

use crate::store::sqlite::Schema;

/// A broker's log.
pub(super) const SCHEMA: Schema = Schema {
    what: "a broker's log",
    application_id: 0x7472_746c, // "trtl"
    migrations: &[
        VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, DEVICES,
    ],
};

/// Numbers are 64 bits, times milliseconds of Unix time, keys 32 bytes.
///
/// Lines and publications are in the order of their keys, without a row id: they are found by
/// nothing else, and a room's lines lie beside each other. Nothing is ever deleted from either.
pub(super) const VERSION_1: &str = "
    -- The log id, and whatever else there is one of.
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Who owns which name (SGN-2): the first to ask, for ever. `folded` is what is compared.
    CREATE TABLE accounts (
        account BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        folded TEXT NOT NULL UNIQUE
    ) STRICT, WITHOUT ROWID;

    -- Devices that have published; a short number for each.
    CREATE TABLE devices (
        id INTEGER PRIMARY KEY,
        device BLOB NOT NULL UNIQUE
    ) STRICT;

    CREATE TABLE rooms (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        folded TEXT NOT NULL UNIQUE,
        -- The number of the last notice (PRS-3).
        presence INTEGER NOT NULL DEFAULT 0,
        -- Whether members may read only from the line on that made them members (RUM-16).
        since_join INTEGER NOT NULL DEFAULT 0 CHECK (since_join IN (0, 1))
    ) STRICT;

    -- Whom the author numbers of a room stand for (RUM-6).
    CREATE TABLE authors (
        room INTEGER NOT NULL REFERENCES rooms (id),
        number INTEGER NOT NULL,
        account BLOB NOT NULL,
        device BLOB NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (room, number),
        UNIQUE (room, account, device)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE lines (
        room INTEGER NOT NULL,
        seq INTEGER NOT NULL CHECK (seq > 0),
        stored_at INTEGER NOT NULL,
        author INTEGER NOT NULL,
        n INTEGER NOT NULL,
        typed_at INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        body BLOB NOT NULL,
        -- The room hash after this line (RUM-3).
        hash BLOB NOT NULL,
        PRIMARY KEY (room, seq),
        FOREIGN KEY (room, author) REFERENCES authors (room, number)
    ) STRICT, WITHOUT ROWID;

    -- What became of each publication: a line, or a refusal for ever (PUB-2, PUB-4).
    CREATE TABLE publications (
        device INTEGER NOT NULL REFERENCES devices (id),
        room INTEGER NOT NULL REFERENCES rooms (id),
        n INTEGER NOT NULL,
        digest BLOB NOT NULL,
        seq INTEGER,
        refusal INTEGER,
        PRIMARY KEY (device, room, n),
        CHECK ((seq IS NULL) != (refusal IS NULL))
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE members (
        room INTEGER NOT NULL REFERENCES rooms (id),
        account BLOB NOT NULL,
        -- The line that made the account a member.
        joined_seq INTEGER NOT NULL,
        PRIMARY KEY (room, account)
    ) STRICT, WITHOUT ROWID;

    -- The last notice about each account (PRS-1); `event` 1 joined, 2 left, 3 timed out.
    CREATE TABLE presence (
        room INTEGER NOT NULL,
        account BLOB NOT NULL,
        author INTEGER NOT NULL,
        event INTEGER NOT NULL CHECK (event IN (1, 2, 3)),
        number INTEGER NOT NULL,
        after_seq INTEGER NOT NULL,
        PRIMARY KEY (room, account),
        FOREIGN KEY (room, author) REFERENCES authors (room, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX presence_by_number ON presence (room, number);

    -- What devices have reported to have (STA-1).
    CREATE TABLE cursors (
        room INTEGER NOT NULL REFERENCES rooms (id),
        account BLOB NOT NULL,
        device BLOB NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (room, account, device)
    ) STRICT, WITHOUT ROWID;

    -- Open links, and where they led last.
    CREATE TABLE links (
        cid BLOB PRIMARY KEY,
        remote TEXT NOT NULL,
        local INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// What accounts have, without the holes. A report of version 1 was taken for all that came before
/// it too, and what was counted stays counted (STA-1).
const VERSION_2: &str = "
    -- Which lines the devices of an account have reported to have (STA-1): those after `after_seq`,
    -- up to `seq`. The rows of an account neither overlap nor touch.
    CREATE TABLE covered (
        room INTEGER NOT NULL REFERENCES rooms (id),
        account BLOB NOT NULL,
        after_seq INTEGER NOT NULL CHECK (after_seq >= 0),
        seq INTEGER NOT NULL CHECK (seq > after_seq),
        PRIMARY KEY (room, account, after_seq)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO covered (room, account, after_seq, seq)
        SELECT room, account, 0, max(seq) FROM cursors GROUP BY room, account HAVING max(seq) > 0;
    DROP TABLE cursors;
";

/// Invites, and who has come in by them.
const VERSION_3: &str = "
    -- What lets an account in that has no name yet (ADM-2). None is ever deleted.
    CREATE TABLE invites (
        id INTEGER PRIMARY KEY,
        -- The hash of the secret, which is not here.
        mark BLOB NOT NULL UNIQUE,
        -- The room that it leads to.
        room TEXT NOT NULL,
        made_at INTEGER NOT NULL,
        expires_at INTEGER,
        uses_max INTEGER CHECK (uses_max > 0),
        is_revoked INTEGER NOT NULL DEFAULT 0 CHECK (is_revoked IN (0, 1))
    ) STRICT;

    -- By which invite an account came in, if by one. How often an invite was used is how many there
    -- are, so that it cannot be counted twice (ADM-3).
    ALTER TABLE accounts ADD COLUMN invite INTEGER REFERENCES invites (id);
    CREATE INDEX accounts_by_invite ON accounts (invite) WHERE invite IS NOT NULL;
";

/// What names look like (SGN-8). It is filled in when the log is opened, as whenever Unicode changes
/// what looks like what.
const VERSION_4: &str = "
    ALTER TABLE accounts ADD COLUMN skeleton TEXT NOT NULL DEFAULT '';
    CREATE INDEX accounts_by_skeleton ON accounts (skeleton);
    ALTER TABLE rooms ADD COLUMN skeleton TEXT NOT NULL DEFAULT '';
    CREATE INDEX rooms_by_skeleton ON rooms (skeleton);
";

/// Roles, and what moderators and the operator decide.
const VERSION_5: &str = "
    -- How accounts stand in a room, as the lines of kind decision have it (ROL-1); who is not here is
    -- a member like any other. `muted_until` is 0 for who is heard.
    CREATE TABLE standings (
        room INTEGER NOT NULL REFERENCES rooms (id),
        account BLOB NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('member', 'moderator', 'owner')),
        is_banned INTEGER NOT NULL CHECK (is_banned IN (0, 1)),
        is_out INTEGER NOT NULL CHECK (is_out IN (0, 1)),
        muted_until INTEGER NOT NULL,
        PRIMARY KEY (room, account)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO standings (room, account, role, is_banned, is_out, muted_until)
        SELECT room, account, 'owner', 0, 0, 0 FROM authors WHERE number = 1;

    -- What the operator has ordered beside the broker (ROL-6). `outcome` is 0 once it is done, or the
    -- code of a refusal.
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        room TEXT NOT NULL,
        decision TEXT NOT NULL,
        made_at INTEGER NOT NULL,
        outcome INTEGER
    ) STRICT;
    CREATE INDEX orders_waiting ON orders (id) WHERE outcome IS NULL;
";

/// Which devices accounts have (DEV-7).
const DEVICES: &str = "
    CREATE TABLE account_devices (
        account BLOB NOT NULL,
        device BLOB NOT NULL,
        -- Whether another device has linked it, by a code (DEV-5).
        is_linked INTEGER NOT NULL CHECK (is_linked IN (0, 1)),
        first_seen INTEGER NOT NULL,
        -- When it signed in, or was linked.
        last_seen INTEGER NOT NULL,
        -- From when on it speaks for the account no more (DEV-8); for ever.
        revoked_at INTEGER,
        PRIMARY KEY (account, device)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX account_devices_by_revocation ON account_devices (revoked_at)
        WHERE revoked_at IS NOT NULL;
    -- Of those from before, what they have left is known.
    INSERT INTO account_devices (account, device, is_linked, first_seen, last_seen)
        SELECT a.account, a.device, 0, min(l.stored_at), max(l.stored_at)
        FROM lines l JOIN authors a ON a.room = l.room AND a.number = l.author
        WHERE a.account IN (SELECT account FROM accounts)
        GROUP BY a.account, a.device;
";
