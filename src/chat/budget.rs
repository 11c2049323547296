//! What a broker's host grants each account, and each network (SPEC.md section 10.3).

use core::fmt;

/// Something of which there is so much, and more of it with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Budget {
    /// New accounts, of a network (BUD-3).
    Registrations,
    /// Coming into rooms and leaving them, of an account (BUD-4).
    Changes,
    /// Lines, of an account (BUD-5).
    Lines,
    /// What lines cause: their bytes, for each who is present, of an account (BUD-5).
    Bytes,
    /// Bytes of what was said before, of an account (BUD-6).
    History,
    /// What the broker may hold for all (MEM-1).
    Memory,
}

impl Budget {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Registrations,
        Self::Changes,
        Self::Lines,
        Self::Bytes,
        Self::History,
        Self::Memory,
    ];

    /// The code of the refusal by which the broker says that there is none left.
    pub(super) const fn code(self) -> u64 {
        match self {
            Self::Registrations => 56,
            Self::Changes => 57,
            Self::Lines => 58,
            Self::Bytes => 59,
            Self::History => 60,
            Self::Memory => 61,
        }
    }

    pub(super) const fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            56 => Self::Registrations,
            57 => Self::Changes,
            58 => Self::Lines,
            59 => Self::Bytes,
            60 => Self::History,
            61 => Self::Memory,
            _ => return None,
        })
    }

    /// A short name for logs, metrics and settings.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Registrations => "registrations",
            Self::Changes => "changes",
            Self::Lines => "lines",
            Self::Bytes => "bytes",
            Self::History => "history",
            Self::Memory => "memory",
        }
    }
}

/// What there was too much of, in words.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registrations => "too many new accounts from this network",
            Self::Changes => "too much coming and going",
            Self::Lines => "too many lines at once",
            Self::Bytes => "too many bytes for too many people at once",
            Self::History => "too much read of what was said before",
            Self::Memory => "the broker has too much to hold",
        })
    }
}
