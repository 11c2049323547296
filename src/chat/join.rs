//! Coming into a room: JOIN and its answer, to and from bytes (SPEC.md section 9.2).

use super::message::{JOIN, JOINED};
use super::{Digest, LastPublication, LineBase, LogId, RoomId};
use crate::wire::{DecodeError, Reader, put_sized, put_varint};

/// The flag of a quiet session (RUM-14).
const QUIET: u8 = 0x01;

/// The highest number of a publication or a line with which a node can be told to go on (RUM-19): so
/// far below those that do not fit the wire that nobody counts from here to there.
pub const NUMBER_MAX: u64 = 1 << 56;

/// Where a node was in a room's log (RUM-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The history that it saw.
    pub log: LogId,
    /// The last line that it has; in another history, the time at which to go on (RUM-10).
    pub base: LineBase,
}

/// Where a node that joins wants to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// So many lines before the tail as the history that it wants.
    #[default]
    Tail,
    /// After the last line that it has.
    After(Resume),
    /// At the line with this number, or at the first one that it may read (RUM-15).
    Line(u64),
}

/// What became of a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeOutcome {
    /// None was asked for.
    Fresh,
    /// Every line after the one named follows.
    Resumed,
    /// The broker's history is another one (RUM-10).
    Fork,
}

/// A node's wish to be let into a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Which room, as typed; the broker checks it.
    pub room: String,
    /// Whether the session makes nobody present (RUM-14).
    pub quiet: bool,
    /// How many earlier lines are wanted, if it begins at the tail.
    pub history: u64,
    /// The last presence number seen (PRS-3).
    pub presence: u64,
    /// Where to begin.
    pub start: Start,
}

/// The answer to a join: where the node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The broker's history.
    pub log: LogId,
    /// The room.
    pub room: RoomId,
    /// What became of the resume.
    pub resume: ResumeOutcome,
    /// The device's last publication here (PUB-7).
    pub last: LastPublication,
    /// The place before the first line that follows.
    pub base: LineBase,
}

impl Join {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(JOIN);
        put_sized(out, self.room.as_bytes());
        out.push(if self.quiet { QUIET } else { 0 });
        put_varint(out, self.history);
        put_varint(out, self.presence);
        match &self.start {
            Start::Tail => out.push(0),
            Start::After(Resume { log, base }) => {
                out.push(1);
                out.extend_from_slice(&log.0);
                put_varint(out, base.seq);
                out.extend_from_slice(&base.stored_at_ms.to_be_bytes());
                out.extend_from_slice(&base.hash);
            }
            Start::Line(seq) => {
                out.push(2);
                put_varint(out, *seq);
            }
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            room: r.text()?.to_owned(),
            quiet: match r.u8()? {
                0 => false,
                QUIET => true,
                _ => return Err(DecodeError::Invalid("join flags")),
            },
            history: r.varint()?,
            presence: r.varint()?,
            start: match r.u8()? {
                0 => Start::Tail,
                1 => Start::After(Resume {
                    log: LogId(r.array()?),
                    base: LineBase {
                        seq: r.varint()?,
                        stored_at_ms: r.u64()?,
                        hash: r.array()?,
                    },
                }),
                2 => Start::Line(r.varint()?),
                _ => return Err(DecodeError::Invalid("place to begin")),
            },
        })
    }
}

impl Joined {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(JOINED);
        out.extend_from_slice(&self.log.0);
        out.extend_from_slice(&self.room.0);
        out.push(match self.resume {
            ResumeOutcome::Fresh => 0,
            ResumeOutcome::Resumed => 1,
            ResumeOutcome::Fork => 2,
        });
        put_varint(out, self.last.n);
        out.extend_from_slice(&self.last.digest);
        put_varint(out, self.base.seq + 1);
        out.extend_from_slice(&self.base.stored_at_ms.to_be_bytes());
        out.extend_from_slice(&self.base.hash);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let log = LogId(r.array()?);
        let room = RoomId(r.array()?);
        let resume = match r.u8()? {
            0 => ResumeOutcome::Fresh,
            1 => ResumeOutcome::Resumed,
            2 => ResumeOutcome::Fork,
            _ => return Err(DecodeError::Invalid("resume outcome")),
        };
        let (n, digest): (u64, Digest) = (r.varint()?, r.array()?);
        let next = r.varint()?;
        if n.max(next) > NUMBER_MAX {
            return Err(DecodeError::Invalid("number beyond all that are ever used"));
        }
        let seq = next
            .checked_sub(1)
            .ok_or(DecodeError::Invalid("next seq"))?;
        let (stored_at_ms, hash) = (r.u64()?, r.array()?);
        Ok(Self {
            log,
            room,
            resume,
            last: LastPublication { n, digest },
            base: LineBase {
                seq,
                stored_at_ms,
                hash,
            },
        })
    }
}
