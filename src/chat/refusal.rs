//! Why a broker says no (SPEC.md section 14).

use core::fmt;
use core::time::Duration;

use super::Budget;

/// A refusal's code. The message that carries it has a reason in words as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Another account owns the name (SGN-2).
    NameTaken,
    /// The name breaks the rules (SGN-3).
    NameInvalid,
    /// This account already has another name (SGN-2).
    NameFixed,
    /// The broker does not admit this account.
    NotAdmitted,
    /// Not now; nothing was recorded (PUB-4).
    RetryLater,
    /// The line is longer than a line may be (PUB-5).
    TooLong,
    /// The line is empty, not UTF-8, or holds a line feed (PUB-5).
    BadText,
    /// The number was used before for something else (PUB-2).
    Conflict,
    /// The room is joined on this link already (RUM-11).
    AlreadyJoined,
    /// The broker has as many rooms as it can have (LIM-5).
    TooManyRooms,
    /// The room's name breaks the rules (RUM-1).
    RoomInvalid,
    /// The name looks like another that is in use (SGN-8).
    NameAlike,
    /// The broker lets in only who was invited, and no invite was shown (ADM-4).
    InviteNeeded,
    /// The broker has made no such invite (ADM-4).
    InviteUnknown,
    /// As many have come in by the invite as may (ADM-4).
    InviteUsedUp,
    /// The invite's time is over (ADM-4).
    InviteExpired,
    /// The invite was called back (ADM-4).
    InviteRevoked,
    /// Only a higher role may decide that (ROL-3).
    NotAllowed,
    /// Nobody of that name is a member of the room (ROL-3).
    NoSuchMember,
    /// It is so already (ROL-3).
    NoEffect,
    /// Shown out of the room (ROL-4).
    Kicked,
    /// Shown out of the room, and not let in again (ROL-4).
    Banned,
    /// Not heard in the room (ROL-5).
    Muted,
    /// The device speaks for its account no more (DEV-8).
    DeviceRevoked,
    /// Nobody offers to link a device by this code (DEV-4).
    LinkUnknown,
    /// All devices of the account that the broker keeps are revoked (LIM-15).
    TooManyDevices,
    /// Not now: more than the broker's host grants. Nothing was recorded (BUD-1).
    OverBudget {
        /// Of what.
        budget: Budget,
        /// In how many milliseconds to ask again.
        wait_ms: u64,
    },
    /// A code of a later version.
    Other(u64),
}

impl Refusal {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::NameTaken => 1,
            Self::NameInvalid => 2,
            Self::NameFixed => 3,
            Self::NotAdmitted => 4,
            Self::RetryLater => 5,
            Self::TooLong => 6,
            Self::BadText => 7,
            Self::Conflict => 8,
            Self::AlreadyJoined => 9,
            Self::TooManyRooms => 10,
            Self::RoomInvalid => 11,
            Self::NameAlike => 12,
            Self::InviteNeeded => 16,
            Self::InviteUnknown => 17,
            Self::InviteUsedUp => 18,
            Self::InviteExpired => 19,
            Self::InviteRevoked => 20,
            Self::NotAllowed => 21,
            Self::NoSuchMember => 22,
            Self::NoEffect => 23,
            Self::Kicked => 24,
            Self::Banned => 25,
            Self::Muted => 26,
            Self::DeviceRevoked => 48,
            Self::LinkUnknown => 49,
            Self::TooManyDevices => 50,
            Self::OverBudget { budget, .. } => budget.code(),
            Self::Other(code) => code,
        }
    }

    /// Whether it is the account that is refused, whatever name it comes under (ADM-4).
    #[must_use]
    pub const fn is_of_the_account(self) -> bool {
        matches!(
            self,
            Self::NotAdmitted
                | Self::InviteNeeded
                | Self::InviteUnknown
                | Self::InviteUsedUp
                | Self::InviteExpired
                | Self::InviteRevoked
                | Self::DeviceRevoked
                | Self::TooManyDevices
        )
    }

    /// Whether the same may be asked again: nothing was recorded, and nothing used up (PUB-4, BUD-1).
    #[must_use]
    pub const fn is_for_now(self) -> bool {
        matches!(self, Self::RetryLater | Self::OverBudget { .. })
    }

    /// When to ask again, if the broker says so (BUD-1).
    #[must_use]
    pub const fn wait(self) -> Option<Duration> {
        match self {
            Self::OverBudget { wait_ms, .. } => Some(Duration::from_millis(wait_ms)),
            _ => None,
        }
    }

    /// A short name for logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NameTaken => "name_taken",
            Self::NameInvalid => "name_invalid",
            Self::NameFixed => "name_fixed",
            Self::NotAdmitted => "not_admitted",
            Self::RetryLater => "retry_later",
            Self::TooLong => "too_long",
            Self::BadText => "bad_text",
            Self::Conflict => "conflict",
            Self::AlreadyJoined => "already_joined",
            Self::TooManyRooms => "too_many_rooms",
            Self::RoomInvalid => "room_invalid",
            Self::NameAlike => "name_alike",
            Self::InviteNeeded => "invite_needed",
            Self::InviteUnknown => "invite_unknown",
            Self::InviteUsedUp => "invite_used_up",
            Self::InviteExpired => "invite_expired",
            Self::InviteRevoked => "invite_revoked",
            Self::NotAllowed => "not_allowed",
            Self::NoSuchMember => "no_such_member",
            Self::NoEffect => "no_effect",
            Self::Kicked => "kicked",
            Self::Banned => "banned",
            Self::Muted => "muted",
            Self::DeviceRevoked => "device_revoked",
            Self::LinkUnknown => "link_unknown",
            Self::TooManyDevices => "too_many_devices",
            Self::OverBudget { budget, .. } => budget.label(),
            Self::Other(_) => "other",
        }
    }

    /// The refusal with this code. How long to wait does not follow from it.
    #[must_use]
    pub const fn from_code(code: u64) -> Self {
        match code {
            1 => Self::NameTaken,
            2 => Self::NameInvalid,
            3 => Self::NameFixed,
            4 => Self::NotAdmitted,
            5 => Self::RetryLater,
            6 => Self::TooLong,
            7 => Self::BadText,
            8 => Self::Conflict,
            9 => Self::AlreadyJoined,
            10 => Self::TooManyRooms,
            11 => Self::RoomInvalid,
            12 => Self::NameAlike,
            16 => Self::InviteNeeded,
            17 => Self::InviteUnknown,
            18 => Self::InviteUsedUp,
            19 => Self::InviteExpired,
            20 => Self::InviteRevoked,
            21 => Self::NotAllowed,
            22 => Self::NoSuchMember,
            23 => Self::NoEffect,
            24 => Self::Kicked,
            25 => Self::Banned,
            26 => Self::Muted,
            48 => Self::DeviceRevoked,
            49 => Self::LinkUnknown,
            50 => Self::TooManyDevices,
            other => match Budget::from_code(other) {
                Some(budget) => Self::OverBudget { budget, wait_ms: 0 },
                None => Self::Other(other),
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameTaken => "this name is taken",
            Self::NameInvalid => "this is no valid name",
            Self::NameFixed => "this account has another name",
            Self::NotAdmitted => "not admitted",
            Self::RetryLater => "the broker cannot do this now",
            Self::TooLong => "the line is too long",
            Self::BadText => "the line is empty, not UTF-8, or has a line feed in it",
            Self::Conflict => "this number was used for another line",
            Self::AlreadyJoined => "the room is joined already",
            Self::TooManyRooms => "the broker has too many rooms",
            Self::RoomInvalid => "this is no valid room name",
            Self::NameAlike => "this name looks too much like another one that is in use",
            Self::InviteNeeded => "only who was invited may come in: ask for an invite",
            Self::InviteUnknown => "the broker has made no such invite",
            Self::InviteUsedUp => "the invite has been used as often as it may be",
            Self::InviteExpired => "the invite has expired",
            Self::InviteRevoked => "the invite was revoked",
            Self::NotAllowed => "that is for a higher role to decide",
            Self::NoSuchMember => "nobody of that name is a member of the room",
            Self::NoEffect => "that is so already",
            Self::Kicked => "kicked out of the room",
            Self::Banned => "banned from the room",
            Self::Muted => "muted in the room",
            Self::DeviceRevoked => "this device was revoked: it speaks for the account no more",
            Self::LinkUnknown => {
                "the code is wrong, was used before, or has expired: have a new one made"
            }
            Self::TooManyDevices => "the account has too many devices",
            Self::OverBudget { budget, wait_ms } => {
                let tenths = wait_ms.div_ceil(100);
                return match (tenths / 10, tenths % 10) {
                    (seconds, 0) => write!(f, "{budget}: retry after {seconds} s"),
                    (seconds, tenth) => write!(f, "{budget}: retry after {seconds}.{tenth} s"),
                };
            }
            Self::Other(code) => return write!(f, "refused with code {code}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in 0..64 {
            assert_eq!(Refusal::from_code(code).code(), code);
        }
    }
}
