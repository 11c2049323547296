//! Lines: the entries of a room's log (SPEC.md section 9.2).

use core::fmt;

use bytes::Bytes;
use ring::digest::{Context, SHA256, digest};

use super::{Name, RoomName};
use crate::secure::{AccountKey, DeviceKey};

/// Names one history of a broker: 128 random bits, new for each fresh log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub [u8; 16]);

/// Lower-case hex.
impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identifies a room in records: a hash of its name (RUM-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomId(pub [u8; 16]);

impl RoomId {
    /// The id of the room called `name` (RUM-1).
    #[must_use]
    pub fn of(name: &RoomName) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"tertulia room 1");
        context.update(name.folded().as_bytes());
        let hash = context.finish();
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_ref()[..16]);
        Self(id)
    }
}

/// The running hash over a room's lines (RUM-3).
pub type RoomHash = [u8; 32];

/// The room hash before the first line (RUM-3).
pub const ROOM_HASH_START: RoomHash = [0; 32];

/// A place in a room's log: what is known of the line at `seq`, from which the next one is
/// decoded and hashed. `seq` 0 is the place before the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineBase {
    /// The line's number.
    pub seq: u64,
    /// When it was stored, in milliseconds of Unix time.
    pub stored_at_ms: u64,
    /// The room hash after it.
    pub hash: RoomHash,
}

impl LineBase {
    /// The place before the first line.
    pub const START: Self = Self {
        seq: 0,
        stored_at_ms: 0,
        hash: ROOM_HASH_START,
    };
}

/// What a line is (RUM-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Somebody said something; the body is the text.
    Message,
    /// An account became a member; the body is its name.
    Joined,
    /// A member left the room for good.
    Left,
    /// A member was removed.
    Removed,
    /// Whoever made the room has decided something about it; the body says what (RUM-16).
    Policy,
    /// Somebody with a role has decided something about somebody; the body says what (ROL-2).
    Decision,
    /// A kind of a later version: kept, counted and hashed all the same.
    Other(u8),
}

impl Kind {
    /// The byte in records and on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Joined => 2,
            Self::Left => 3,
            Self::Removed => 4,
            Self::Policy => 5,
            Self::Decision => 6,
            Self::Other(code) => code,
        }
    }

    /// The kind with this byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Message,
            2 => Self::Joined,
            3 => Self::Left,
            4 => Self::Removed,
            5 => Self::Policy,
            6 => Self::Decision,
            other => Self::Other(other),
        }
    }
}

/// One stored entry of a room's log.
///
/// `author` and `name` are not part of the record: the first follows from the log (RUM-6), the
/// second belongs to the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line's number in its room: 1, 2, 3, ...
    pub seq: u64,
    /// When it was stored, in milliseconds of the broker's Unix time (RUM-4).
    pub stored_at_ms: u64,
    /// The account that is its author.
    pub account: AccountKey,
    /// The device that published it.
    pub device: DeviceKey,
    /// The account's name.
    pub name: Name,
    /// The number of (account, device) in this room (RUM-6).
    pub author: u64,
    /// The device's number for it, 0 if it was no publication.
    pub n: u64,
    /// When it was typed, in milliseconds of the author's Unix time.
    pub typed_at_ms: u64,
    /// What it is.
    pub kind: Kind,
    /// For a message, exactly what was typed.
    pub body: Bytes,
}

impl Line {
    /// The room hash after this line, given the one before (RUM-2, RUM-3).
    #[must_use]
    pub fn hash_after(&self, room: RoomId, before: &RoomHash) -> RoomHash {
        let mut context = Context::new(&SHA256);
        context.update(before);
        context.update(&self.record(room));
        let mut hash = ROOM_HASH_START;
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    /// The place in the log after this line.
    #[must_use]
    pub fn base_after(&self, room: RoomId, before: &LineBase) -> LineBase {
        LineBase {
            seq: self.seq,
            stored_at_ms: self.stored_at_ms,
            hash: self.hash_after(room, &before.hash),
        }
    }

    /// The canonical record (RUM-2).
    #[must_use]
    pub fn record(&self, room: RoomId) -> Vec<u8> {
        let mut out = Vec::with_capacity(118 + self.body.len());
        out.extend_from_slice(&room.0);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.stored_at_ms.to_be_bytes());
        out.extend_from_slice(self.account.as_bytes());
        out.extend_from_slice(self.device.as_bytes());
        out.extend_from_slice(&self.n.to_be_bytes());
        out.extend_from_slice(&self.typed_at_ms.to_be_bytes());
        out.push(self.kind.code());
        out.push(0); // no signature in this version
        // A body is far below 4 GiB: a message is at most MESSAGE_MAX (LIM-2).
        out.extend_from_slice(
            &u32::try_from(self.body.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        out.extend_from_slice(&self.body);
        out
    }

    /// The body as text; every body this version stores is UTF-8, what a later one stores may not be.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// SHA-256, for the digests of this layer.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut joined = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
    parts.iter().for_each(|part| joined.extend_from_slice(part));
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, &joined).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            seq: 2,
            stored_at_ms: 3,
            account: AccountKey([4; 32]),
            device: DeviceKey([5; 32]),
            name: Name::new("ada").unwrap(),
            author: 1,
            n: 6,
            typed_at_ms: 7,
            kind: Kind::Message,
            body: Bytes::from_static(b"hi"),
        }
    }

    /// RUM-1.
    #[test]
    fn a_rooms_id_does_not_depend_on_case() {
        let id = |name| RoomId::of(&RoomName::new(name).unwrap());
        assert_eq!(id("Lobby"), id("lobby"));
        assert_ne!(id("lobby"), id("lobby2"));
    }

    /// RUM-2.
    #[test]
    fn a_record_has_its_fields_in_the_order_of_the_specification() {
        let mut expected = vec![9; 16];
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend_from_slice(&[4; 32]);
        expected.extend_from_slice(&[5; 32]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7]);
        expected.extend_from_slice(&[1, 0, 0, 0, 0, 2, b'h', b'i']);
        assert_eq!(line().record(RoomId([9; 16])), expected);
    }

    /// RUM-3.
    #[test]
    fn the_room_hash_depends_on_every_line_before() {
        let room = RoomId([9; 16]);
        let (first, mut second) = (line(), line());
        second.seq = 3;
        let h1 = first.hash_after(room, &ROOM_HASH_START);
        let h2 = second.hash_after(room, &h1);
        assert_eq!(h1, sha256(&[&ROOM_HASH_START, &first.record(room)]));
        assert_ne!(h2, second.hash_after(room, &ROOM_HASH_START));
    }

    /// RUM-5.
    #[test]
    fn kinds_of_later_versions_are_kept() {
        for code in 0..=255 {
            assert_eq!(Kind::from_code(code).code(), code);
        }
    }
}
