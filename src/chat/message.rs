//! What is said on a room's channel, to and from bytes (SPEC.md section 9.2).
//!
//! Each direction of each kind of channel has its own enum, so that a machine's `match` sees
//! exactly what its peer may say there, and anything else is malformed.
//!
//! What travels most is kept small (PUB-9): a line leaves out what the channel's JOINED and the
//! author's introduction have said already.

use core::num::NonZeroU64;

use bytes::Bytes;

use super::{InviteMark, Join, Joined, Kind, PastLine, Publication, Refusal, Stretch};
use crate::secure::{AccountKey, DeviceKey};
use crate::wire::{DecodeError, Reader, VARINT_MAX, put_sized, put_varint};

pub(super) const JOIN: u8 = 0x10;
pub(super) const JOINED: u8 = 0x11;
const JOIN_REFUSED: u8 = 0x12;
const INTRODUCE: u8 = 0x13;
const LINE: u8 = 0x14;
const NOTICE: u8 = 0x15;
const PUBLISH: u8 = 0x16;
const STORED: u8 = 0x17;
const NOT_STORED: u8 = 0x18;
const GAP: u8 = 0x19;
const LEAVE: u8 = 0x1a;
const LEFT: u8 = 0x1b;
const WHO: u8 = 0x1c;
const ROSTER: u8 = 0x1d;
const REMOVED: u8 = 0x1e;
const INVITE: u8 = 0x1f;
const INVITED: u8 = 0x20;
const NOT_INVITED: u8 = 0x21;
const CURSOR: u8 = 0x30;
const WATCH: u8 = 0x31;
const DELIVERED: u8 = 0x32;
const HISTORY: u8 = 0x34;
pub(super) const PAST: u8 = 0x35;
const HISTORY_END: u8 = 0x36;
const PUT_OFF: u8 = 0x37;

/// The most names in a ROSTER or ROOMS (LIM-8).
pub const LISTED_MAX: usize = 1_000;
/// The most bytes of a ROSTER or ROOMS (LIM-8).
pub const LISTED_BYTES_MAX: usize = 60_000;

/// What a node says on a room's channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomFromNode {
    /// "Let me in." First on the channel.
    Join(Join),
    /// "Store this."
    Publish(Publication),
    /// "I am no member any more" (RUM-12).
    Leave,
    /// "Who is here?" (RUM-13)
    Who,
    /// "Let in who shows this" (ROL-7).
    Invite(InviteWish),
    /// "I have these lines for good, all of them" (STA-1).
    Cursor(Stretch),
    /// "Tell me who has this line of mine" (STA-3).
    Watch {
        /// Which one.
        seq: u64,
    },
    /// "What was said earlier?" (HST-2)
    History {
        /// Before which line.
        before: u64,
        /// At most so many lines.
        count: u64,
    },
}

/// An invite that somebody in the room wants to be made (ROL-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteWish {
    /// By what its secret, which the broker is not told, will be known.
    pub mark: InviteMark,
    /// How many accounts it lets in, at most 2^62 - 1; `None` for any number.
    pub uses: Option<NonZeroU64>,
    /// For how many milliseconds, at most 2^62 - 1; `None` without an end.
    pub lasts_ms: Option<NonZeroU64>,
}

/// How far a line has come (STA-3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The line's number.
    pub seq: u64,
    /// How many of `n` have it.
    pub k: u64,
    /// How many accounts are to have it.
    pub n: u64,
    /// How many of `present_n` have it.
    pub present_k: u64,
    /// How many of `n` were present when it was stored.
    pub present_n: u64,
}

/// A line on the wire: what [`LineBase`](super::LineBase) and the author's introduction do not say already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireLine {
    /// The line's number.
    pub seq: u64,
    /// The author's number (RUM-6).
    pub author: u64,
    /// The device's number for it.
    pub n: u64,
    /// What it is.
    pub kind: Kind,
    /// How much later than the line before it was stored, in ms (RUM-4).
    pub since_previous_ms: u64,
    /// When it was typed, in ms before it was stored; negative if the clocks disagree.
    pub typed_lag_ms: i64,
    /// For a message, the text.
    pub body: Bytes,
}

/// What a notice tells (PRS-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeEvent {
    /// Became present.
    Joined,
    /// Left.
    Left,
    /// Not heard from for the grace.
    TimedOut,
}

/// What a broker says on a room's channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomFromBroker {
    /// In.
    Joined(Joined),
    /// Not in.
    JoinRefused {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// Who an author number stands for (RUM-6).
    Introduce {
        /// The number.
        author: u64,
        /// The account.
        account: AccountKey,
        /// The device.
        device: DeviceKey,
        /// The account's name.
        name: String,
    },
    /// The next line.
    Line(WireLine),
    /// Somebody came or went (PRS-2).
    Notice {
        /// The room's running number of notices (PRS-3).
        presence: u64,
        /// What happened.
        event: NoticeEvent,
        /// To whom.
        author: u64,
    },
    /// A publication is stored.
    Stored {
        /// The device's number for it.
        n: u64,
        /// The line's number.
        seq: u64,
    },
    /// A publication is not stored.
    NotStored {
        /// The device's number for it.
        n: u64,
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// Publications before the one sent are missing.
    Gap {
        /// The last number known.
        last: u64,
    },
    /// No member any more; nothing follows (RUM-12).
    Left,
    /// Out: others have decided so (ROL-4). Last on the channel.
    Removed {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// An invite is made (ROL-7).
    Invited {
        /// Its number.
        invite: u64,
    },
    /// An invite is not made (ROL-7).
    NotInvited {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// Who is present (RUM-13).
    Roster {
        /// How many there are.
        total: u64,
        /// Those that are listed.
        names: Vec<String>,
    },
    /// How far a line has come that is watched (STA-3).
    Delivered(Delivered),
    /// A line of earlier times (HST-2).
    Past(PastLine),
    /// No more of those (HST-2).
    HistoryEnd {
        /// How many there were.
        count: u64,
        /// Whether there are earlier ones that may be asked for.
        earlier: bool,
    },
    /// What is to be read for this channel comes later, by itself (BUD-6).
    PutOff {
        /// Why, and how much later.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
}

impl RoomFromNode {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Join(join) => join.put(&mut out),
            Self::Publish(Publication {
                n,
                typed_at_ms,
                kind,
                body,
            }) => {
                out.reserve(16 + body.len());
                out.push(PUBLISH);
                put_varint(&mut out, *n);
                // Six bytes of milliseconds last for nine thousand years.
                out.extend_from_slice(&typed_at_ms.to_be_bytes()[2..]);
                out.push(kind.code());
                out.extend_from_slice(body);
            }
            Self::Leave => out.push(LEAVE),
            Self::Who => out.push(WHO),
            Self::Invite(InviteWish {
                mark,
                uses,
                lasts_ms,
            }) => {
                out.push(INVITE);
                out.extend_from_slice(&mark.0);
                put_varint(&mut out, uses.map_or(0, NonZeroU64::get).min(VARINT_MAX));
                put_varint(
                    &mut out,
                    lasts_ms.map_or(0, NonZeroU64::get).min(VARINT_MAX),
                );
            }
            Self::Cursor(Stretch { after, to }) => {
                out.push(CURSOR);
                put_varint(&mut out, *after);
                put_varint(&mut out, *to);
            }
            Self::Watch { seq } => {
                out.push(WATCH);
                put_varint(&mut out, *seq);
            }
            Self::History { before, count } => {
                out.push(HISTORY);
                put_varint(&mut out, *before);
                put_varint(&mut out, *count);
            }
        }
        out.into()
    }

    /// Reads a message; a body shares the message's memory.
    ///
    /// # Errors
    ///
    /// The bytes are no such message.
    pub fn decode(message: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(message);
        let decoded = match r.u8()? {
            JOIN => Self::Join(Join::read(&mut r)?),
            PUBLISH => {
                let n = r.varint()?;
                let [a, b, c, d, e, f] = r.array()?;
                let typed_at_ms = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
                let kind = Kind::from_code(r.u8()?);
                let body = message.slice_ref(r.rest());
                Self::Publish(Publication {
                    n,
                    typed_at_ms,
                    kind,
                    body,
                })
            }
            LEAVE => Self::Leave,
            WHO => Self::Who,
            INVITE => Self::Invite(InviteWish {
                mark: InviteMark(r.array()?),
                uses: NonZeroU64::new(r.varint()?),
                lasts_ms: NonZeroU64::new(r.varint()?),
            }),
            CURSOR => Self::Cursor(Stretch {
                after: r.varint()?,
                to: r.varint()?,
            }),
            WATCH => Self::Watch { seq: r.varint()? },
            HISTORY => Self::History {
                before: r.varint()?,
                count: r.varint()?,
            },
            other => return Err(DecodeError::UnknownType(other)),
        };
        r.finish()?;
        Ok(decoded)
    }
}

impl RoomFromBroker {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Joined(joined) => joined.put(&mut out),
            Self::JoinRefused { code, reason } => {
                out.push(JOIN_REFUSED);
                put_refusal(&mut out, *code, reason);
            }
            Self::Introduce {
                author,
                account,
                device,
                name,
            } => {
                // A type, a number and two keys come before the name.
                out.reserve(1 + 8 + 32 + 32 + name.len());
                out.push(INTRODUCE);
                put_varint(&mut out, *author);
                out.extend_from_slice(account.as_bytes());
                out.extend_from_slice(device.as_bytes());
                out.extend_from_slice(name.as_bytes());
            }
            Self::Line(line) => line.put(&mut out),
            Self::Notice {
                presence,
                event,
                author,
            } => {
                out.push(NOTICE);
                put_varint(&mut out, *presence);
                out.push(event.code());
                put_varint(&mut out, *author);
            }
            Self::Stored { n, seq } => {
                out.push(STORED);
                put_varint(&mut out, *n);
                put_varint(&mut out, *seq);
            }
            Self::NotStored { n, code, reason } => {
                out.push(NOT_STORED);
                put_varint(&mut out, *n);
                put_refusal(&mut out, *code, reason);
            }
            Self::Gap { last } => {
                out.push(GAP);
                put_varint(&mut out, *last);
            }
            Self::Left => out.push(LEFT),
            Self::Invited { invite } => {
                out.push(INVITED);
                put_varint(&mut out, *invite);
            }
            Self::NotInvited { code, reason } => {
                out.push(NOT_INVITED);
                put_refusal(&mut out, *code, reason);
            }
            Self::Removed { code, reason } => {
                out.push(REMOVED);
                put_refusal(&mut out, *code, reason);
            }
            Self::Roster { total, names } => {
                out.push(ROSTER);
                put_varint(&mut out, *total);
                for name in names {
                    put_sized(&mut out, name.as_bytes());
                }
            }
            Self::Delivered(delivered) => delivered.put(&mut out),
            Self::Past(line) => line.put(&mut out),
            Self::HistoryEnd { count, earlier } => {
                out.push(HISTORY_END);
                put_varint(&mut out, *count);
                out.push(u8::from(*earlier));
            }
            Self::PutOff { code, reason } => {
                out.push(PUT_OFF);
                put_refusal(&mut out, *code, reason);
            }
        }
        out.into()
    }

    /// Reads a message; a body shares the message's memory.
    ///
    /// # Errors
    ///
    /// The bytes are no such message.
    pub fn decode(message: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(message);
        let decoded = match r.u8()? {
            JOINED => Self::Joined(Joined::read(&mut r)?),
            JOIN_REFUSED => {
                let (code, reason) = refusal(&mut r)?;
                Self::JoinRefused { code, reason }
            }
            INTRODUCE => Self::Introduce {
                author: r.varint()?,
                account: AccountKey(r.array()?),
                device: DeviceKey(r.array()?),
                name: r.rest_text()?.to_owned(),
            },
            LINE => Self::Line(WireLine::read(&mut r, message)?),
            NOTICE => Self::Notice {
                presence: r.varint()?,
                event: NoticeEvent::from_code(r.u8()?)?,
                author: r.varint()?,
            },
            STORED => Self::Stored {
                n: r.varint()?,
                seq: r.varint()?,
            },
            NOT_STORED => {
                let n = r.varint()?;
                let (code, reason) = refusal(&mut r)?;
                Self::NotStored { n, code, reason }
            }
            GAP => Self::Gap { last: r.varint()? },
            LEFT => Self::Left,
            INVITED => Self::Invited {
                invite: r.varint()?,
            },
            NOT_INVITED => {
                let (code, reason) = refusal(&mut r)?;
                Self::NotInvited { code, reason }
            }
            REMOVED => {
                let (code, reason) = refusal(&mut r)?;
                Self::Removed { code, reason }
            }
            ROSTER => {
                let total = r.varint()?;
                let mut names = Vec::new();
                while !r.is_empty() {
                    check_listed(names.len())?;
                    names.push(r.text()?.to_owned());
                }
                Self::Roster { total, names }
            }
            DELIVERED => Self::Delivered(Delivered::read(&mut r)?),
            PAST => Self::Past(PastLine::read(&mut r, message)?),
            HISTORY_END => Self::HistoryEnd {
                count: r.varint()?,
                earlier: match r.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(DecodeError::Invalid("flag")),
                },
            },
            PUT_OFF => {
                let (code, reason) = refusal(&mut r)?;
                Self::PutOff { code, reason }
            }
            other => return Err(DecodeError::UnknownType(other)),
        };
        r.finish()?;
        Ok(decoded)
    }
}

impl Delivered {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(DELIVERED);
        for field in [self.seq, self.k, self.n, self.present_k, self.present_n] {
            put_varint(out, field);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let told = Self {
            seq: r.varint()?,
            k: r.varint()?,
            n: r.varint()?,
            present_k: r.varint()?,
            present_n: r.varint()?,
        };
        let adds_up = told.k <= told.n
            && told.present_n <= told.n
            && told.present_k <= told.k.min(told.present_n);
        adds_up
            .then_some(told)
            .ok_or(DecodeError::Invalid("count of who has a line"))
    }
}

impl WireLine {
    fn put(&self, out: &mut Vec<u8>) {
        out.reserve(32 + self.body.len());
        out.push(LINE);
        put_varint(out, self.seq);
        put_varint(out, self.author);
        put_varint(out, self.n);
        out.push(self.kind.code());
        put_varint(out, self.since_previous_ms.min(VARINT_MAX));
        put_varint(out, zigzag(self.typed_lag_ms).min(VARINT_MAX));
        out.extend_from_slice(&self.body);
    }

    fn read(r: &mut Reader<'_>, message: &Bytes) -> Result<Self, DecodeError> {
        Ok(Self {
            seq: r.varint()?,
            author: r.varint()?,
            n: r.varint()?,
            kind: Kind::from_code(r.u8()?),
            since_previous_ms: r.varint()?,
            typed_lag_ms: unzigzag(r.varint()?),
            body: message.slice_ref(r.rest()),
        })
    }
}

impl NoticeEvent {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Joined => 1,
            Self::Left => 2,
            Self::TimedOut => 3,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            1 => Ok(Self::Joined),
            2 => Ok(Self::Left),
            3 => Ok(Self::TimedOut),
            _ => Err(DecodeError::Invalid("presence event")),
        }
    }
}

/// Small magnitudes of either sign to small numbers: 0, -1, 1, -2, ... to 0, 1, 2, 3, ...
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// A list that is longer than one may be is malformed (LIM-8).
pub(super) const fn check_listed(len: usize) -> Result<(), DecodeError> {
    if len < LISTED_MAX {
        Ok(())
    } else {
        Err(DecodeError::Invalid("length of a list"))
    }
}

pub(super) fn put_refusal(out: &mut Vec<u8>, code: Refusal, reason: &str) {
    put_varint(out, code.code());
    if let Refusal::OverBudget { wait_ms, .. } = code {
        put_varint(out, wait_ms.min(VARINT_MAX));
    }
    out.extend_from_slice(reason.as_bytes());
}

pub(super) fn refusal(r: &mut Reader<'_>) -> Result<(Refusal, String), DecodeError> {
    let mut code = Refusal::from_code(r.varint()?);
    if let Refusal::OverBudget { wait_ms, .. } = &mut code {
        *wait_ms = r.varint()?;
    }
    Ok((code, r.rest_text()?.to_owned()))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
