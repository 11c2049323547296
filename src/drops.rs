//! Why datagrams were dropped, and how often (BRK-4).

use core::fmt;
use std::collections::BTreeMap;

use crate::link::DropReason;
use crate::secure::HandshakeError;
use crate::wire::DecodeError;

/// Why a machine dropped a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// It had no bytes.
    Empty,
    /// A handshake datagram whose CRC does not match (HSD-1).
    Crc,
    /// A handshake datagram that does not decode.
    Malformed,
    /// A handshake datagram that only the other side takes, or that answers nothing.
    Unexpected,
    /// A handshake for which a limit leaves no room (LIM-3).
    Limit,
    /// A half-open handshake that made room for a newer one (SEC-6).
    MadeRoom,
    /// A pattern or suite that is not spoken here (SEC-1).
    Unsupported,
    /// A HELLO from somebody who does not know the broker's key (SEC-4).
    Mac1,
    /// A HELLO without a cookie, when one was asked for; it was answered by a RETRY (ADR-3).
    CookieMissing,
    /// A HELLO whose cookie is not, or no longer, right; it was answered by a RETRY (ADR-3).
    CookieWrong,
    /// A handshake from where too many came from (ADR-5).
    Rate,
    /// A handshake when handshakes took too much of the time (ADR-6).
    Busy,
    /// A handshake when the broker had too much to hold (MEM-4).
    Memory,
    /// A first contact, or another version, where first contacts are not taken (ADR-8).
    FirstContact,
    /// A handshake that does not verify (SEC-3).
    Handshake,
    /// Data for a link that does not exist, or not yet (SEC-10).
    UnknownLink,
    /// Data for a link that has ended.
    Closed,
    /// Too short for a sealed packet.
    TooShort,
    /// Sealed under keys that do not exist (PKT-6).
    Epoch,
    /// Seen before (KEY-2).
    Replay,
    /// Fails authentication (KEY-4).
    Authentication,
}

impl Dropped {
    /// A short name for logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Crc => "crc",
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected",
            Self::Limit => "limit",
            Self::MadeRoom => "made_room",
            Self::Unsupported => "unsupported",
            Self::Mac1 => "mac1",
            Self::CookieMissing => "cookie_missing",
            Self::CookieWrong => "cookie_wrong",
            Self::Rate => "rate",
            Self::Busy => "busy",
            Self::Memory => "memory",
            Self::FirstContact => "first_contact",
            Self::Handshake => "handshake",
            Self::UnknownLink => "unknown_link",
            Self::Closed => "closed",
            Self::TooShort => "too_short",
            Self::Epoch => "epoch",
            Self::Replay => "replay",
            Self::Authentication => "authentication",
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl From<DecodeError> for Dropped {
    fn from(error: DecodeError) -> Self {
        if error == DecodeError::BadCrc {
            Self::Crc
        } else {
            Self::Malformed
        }
    }
}

impl From<HandshakeError> for Dropped {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Unsupported => Self::Unsupported,
            HandshakeError::Mac1 => Self::Mac1,
            HandshakeError::WrongCid | HandshakeError::Retry => Self::Unexpected,
            HandshakeError::Noise | HandshakeError::Payload | HandshakeError::Certificate => {
                Self::Handshake
            }
        }
    }
}

impl From<DropReason> for Dropped {
    fn from(reason: DropReason) -> Self {
        match reason {
            DropReason::Closed => Self::Closed,
            DropReason::TooShort => Self::TooShort,
            DropReason::Epoch => Self::Epoch,
            DropReason::Replay => Self::Replay,
            DropReason::Authentication => Self::Authentication,
        }
    }
}

/// How many datagrams were dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops(BTreeMap<Dropped, u64>);

impl Drops {
    /// Counts `times` more.
    pub fn add(&mut self, reason: Dropped, times: u64) {
        if times > 0 {
            match reason {
                Dropped::Authentication => {
                    crate::sometimes!(CorruptedDropped);
                }
                Dropped::Replay => {
                    crate::sometimes!(ReplayDropped);
                }
                Dropped::Crc => {
                    crate::sometimes!(CrcDropped);
                }
                Dropped::CookieMissing => {
                    crate::sometimes!(CookieAsked);
                }
                _ => {}
            }
            *self.0.entry(reason).or_default() += times;
        }
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub fn count(&self, reason: Dropped) -> u64 {
        self.0.get(&reason).copied().unwrap_or(0)
    }

    /// The reasons that have occurred, each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Dropped, u64)> {
        self.0.iter().map(|(reason, count)| (*reason, *count))
    }
}

/// `crc 3, replay 1`; empty if nothing was dropped.
impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (reason, count)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{reason} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BRK-4.
    #[test]
    fn drops_are_counted_by_reason() {
        let mut drops = Drops::default();
        drops.add(DropReason::Replay.into(), 1);
        drops.add(DecodeError::BadCrc.into(), 1);
        drops.add(Dropped::Crc, 2);
        drops.add(Dropped::Limit, 0);
        assert_eq!(drops.count(Dropped::Crc), 3);
        assert_eq!(drops.to_string(), "crc 3, replay 1");
    }
}
