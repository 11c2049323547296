//! Who may do what in a room: roles, and what moderators decide (SPEC.md section 9.7).

use core::fmt;
use core::num::NonZeroU64;
use std::collections::BTreeMap;

use super::{Kind, Name, Refusal};
use crate::secure::{AccountKey, DeviceKey};

/// The account and device that decisions of the broker's operator bear. No account has this key
/// (ROL-6).
pub const OPERATOR: (AccountKey, DeviceKey) = (AccountKey([0; 32]), DeviceKey([0; 32]));

/// What an account is in a room (ROL-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// One of many.
    #[default]
    Member,
    /// Keeps order among members.
    Moderator,
    /// Decides everything.
    Owner,
}

/// What can be decided about somebody (ROL-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To be no member any more.
    Kick,
    /// To be no member, and not to become one.
    Ban,
    /// To be banned no more.
    Unban,
    /// Not to be heard, for so many seconds or, without a number, until told otherwise.
    Mute(Option<NonZeroU64>),
    /// To be heard again.
    Unmute,
    /// To have this role.
    Role(Role),
}

/// What is decided, and about whom: the body of a line of kind decision (ROL-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub verb: Verb,
    /// About whom.
    pub about: Name,
}

/// How an account stands in a room (ROL-1): what the decisions about it have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its role.
    pub role: Role,
    /// Whether it may not become a member.
    pub is_banned: bool,
    /// Whether it was shown out, and has not come in again.
    pub is_out: bool,
    /// Until when it is not heard, in milliseconds of Unix time; 0 if it is.
    pub muted_until_ms: u64,
}

/// How everybody stands in a room about whom something was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings(BTreeMap<AccountKey, Standing>);

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// An account, by its role.
    Account(AccountKey),
    /// Who runs the broker (ROL-6).
    Operator,
}

/// Muted until told otherwise.
pub const MUTED_FOR_EVER: u64 = i64::MAX as u64;

impl Role {
    const ALL: [Self; 3] = [Self::Member, Self::Moderator, Self::Owner];

    /// Its name, in decisions and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Moderator => "moderator",
            Self::Owner => "owner",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// As in the body of a line.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verb {
            Verb::Kick => f.write_str("kick ")?,
            Verb::Ban => f.write_str("ban ")?,
            Verb::Unban => f.write_str("unban ")?,
            Verb::Mute(None) => f.write_str("mute always ")?,
            Verb::Mute(Some(seconds)) => write!(f, "mute {seconds} ")?,
            Verb::Unmute => f.write_str("unmute ")?,
            Verb::Role(role) => write!(f, "role {} ", role.as_str())?,
        }
        f.write_str(self.about.as_str())
    }
}

impl Decision {
    /// The decision that the body of a line says, if it is one.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (word, rest) = core::str::from_utf8(body).ok()?.split_once(' ')?;
        let (verb, about) = match word {
            "kick" => (Verb::Kick, rest),
            "ban" => (Verb::Ban, rest),
            "unban" => (Verb::Unban, rest),
            "unmute" => (Verb::Unmute, rest),
            "mute" => match rest.split_once(' ')? {
                ("always", about) => (Verb::Mute(None), about),
                (seconds, about) => (Verb::Mute(Some(seconds.parse().ok()?)), about),
            },
            "role" => {
                let (role, about) = rest.split_once(' ')?;
                (Verb::Role(Role::parse(role)?), about)
            }
            _ => return None,
        };
        let decision = Self {
            verb,
            about: Name::new(about).ok()?,
        };
        // One decision has one body: no plus signs, no leading zeros.
        (decision.to_string().as_bytes() == body).then_some(decision)
    }

    /// How the account that it is about stands after it, `at_ms` being when the line is stored.
    #[must_use]
    pub fn applied_to(&self, standing: Standing, at_ms: u64) -> Standing {
        match self.verb {
            Verb::Kick => Standing {
                is_out: true,
                ..standing
            },
            Verb::Ban => Standing {
                role: Role::Member,
                is_banned: true,
                is_out: true,
                ..standing
            },
            Verb::Unban => Standing {
                is_banned: false,
                is_out: false,
                ..standing
            },
            Verb::Mute(seconds) => {
                let ms = seconds.map(|seconds| seconds.get().saturating_mul(1_000));
                let until = ms.map_or(MUTED_FOR_EVER, |ms| at_ms.saturating_add(ms));
                Standing {
                    muted_until_ms: until.min(MUTED_FOR_EVER),
                    ..standing
                }
            }
            Verb::Unmute => Standing {
                muted_until_ms: 0,
                ..standing
            },
            Verb::Role(role) => Standing { role, ..standing },
        }
    }

    /// The code by which the sessions of the account are shown out, if they are (ROL-4).
    #[must_use]
    pub const fn shows_out(&self) -> Option<Refusal> {
        match self.verb {
            Verb::Kick => Some(Refusal::Kicked),
            Verb::Ban => Some(Refusal::Banned),
            _ => None,
        }
    }
}

impl Standings {
    /// Of a room in which nothing was decided yet.
    pub const NONE: Self = Self(BTreeMap::new());

    /// How an account stands.
    #[must_use]
    pub fn of(&self, account: &AccountKey) -> Standing {
        self.0.get(account).copied().unwrap_or_default()
    }

    /// Notes how an account stands.
    pub fn set(&mut self, account: AccountKey, standing: Standing) {
        if standing == Standing::default() {
            self.0.remove(&account);
        } else {
            self.0.insert(account, standing);
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was ever decided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `account` may come in (ROL-4): not if banned, and not as if nothing had happened if it
    /// was kicked since.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn admit(&self, account: &AccountKey, resumes: bool) -> Result<(), Refusal> {
        let standing = self.of(account);
        if standing.is_banned {
            Err(Refusal::Banned)
        } else if standing.is_out && resumes {
            Err(Refusal::Kicked)
        } else {
            Ok(())
        }
    }

    /// Whether `account` may publish this kind now (ROL-4, ROL-5).
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_publish(
        &self,
        account: &AccountKey,
        kind: Kind,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let standing = self.of(account);
        if standing.is_banned {
            Err(Refusal::Banned)
        } else if standing.is_out {
            Err(Refusal::Kicked)
        } else if kind == Kind::Message && now_ms < standing.muted_until_ms {
            Err(Refusal::Muted)
        } else if kind == Kind::Policy && standing.role != Role::Owner {
            Err(Refusal::NotAdmitted)
        } else {
            Ok(())
        }
    }

    /// Whether `account` may have invites made to the room (ROL-7).
    #[must_use]
    pub fn may_invite(&self, account: &AccountKey) -> bool {
        let standing = self.of(account);
        standing.role >= Role::Moderator && !standing.is_out
    }

    /// How `about`, the account that `decision` names, stands after it, if `by` may decide so
    /// (ROL-2, ROL-3). `is_member`: whether it is a member.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn decide(
        &self,
        by: Judge,
        decision: &Decision,
        about: &AccountKey,
        is_member: bool,
        at_ms: u64,
    ) -> Result<Standing, Refusal> {
        let standing = self.of(about);
        if let Judge::Account(by) = by {
            let role = self.of(&by).role;
            let is_of_roles = matches!(decision.verb, Verb::Role(_));
            let may = match role {
                Role::Owner => true,
                Role::Moderator => standing.role == Role::Member && !is_of_roles,
                Role::Member => false,
            };
            if !may || (by == *about && !is_of_roles) || self.is_last_owner(&by, about, decision) {
                return Err(Refusal::NotAllowed);
            }
        }
        let (needs_member, is_so_already) = match decision.verb {
            Verb::Kick => (true, false),
            Verb::Ban => (false, standing.is_banned),
            Verb::Unban => (false, !standing.is_banned),
            Verb::Mute(_) => (false, false),
            Verb::Unmute => (false, standing.muted_until_ms <= at_ms),
            Verb::Role(role) => (true, standing.role == role),
        };
        if needs_member && !is_member {
            Err(Refusal::NoSuchMember)
        } else if is_so_already {
            Err(Refusal::NoEffect)
        } else {
            Ok(decision.applied_to(standing, at_ms))
        }
    }

    /// ROL-3: a room does not lose its last owner by the owner's own hand.
    fn is_last_owner(&self, by: &AccountKey, about: &AccountKey, decision: &Decision) -> bool {
        let owners = self.0.values().filter(|other| other.role == Role::Owner);
        by == about && decision.verb != Verb::Role(Role::Owner) && owners.count() < 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: AccountKey = AccountKey([1; 32]);
    const MODERATOR: AccountKey = AccountKey([2; 32]);
    const MEMBER: AccountKey = AccountKey([3; 32]);
    const AT: u64 = 10_000;

    fn decision(text: &str) -> Decision {
        Decision::parse(text.as_bytes()).unwrap()
    }

    fn standings() -> Standings {
        let mut standings = Standings::default();
        for (account, role) in [(OWNER, Role::Owner), (MODERATOR, Role::Moderator)] {
            let standing = Standing {
                role,
                ..Standing::default()
            };
            standings.set(account, standing);
        }
        standings
    }

    /// ROL-2.
    #[test]
    fn a_decision_is_read_back_from_its_line_and_nothing_else_is_one() {
        for text in [
            "kick bob",
            "ban the other bob",
            "unban bob",
            "mute 600 bob",
            "mute always bob",
            "unmute bob",
            "role owner bob",
            "role moderator bob",
            "role member bob",
        ] {
            assert_eq!(decision(text).to_string(), text);
        }
        for bad in [
            "",
            "kick",
            "kick ",
            "kick SERVER",
            "mute bob",
            "mute 0 bob",
            "mute +5 bob",
            "mute 05 bob",
            "role bob",
            "role king bob",
            "kick  bob",
            "KICK bob",
            "slap bob",
        ] {
            assert_eq!(Decision::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    /// ROL-3.
    #[test]
    fn each_role_decides_about_those_below_it() {
        let standings = standings();
        let may = |by, text: &str, about: &AccountKey| {
            standings.decide(Judge::Account(by), &decision(text), about, true, AT)
        };
        let refused = Err(Refusal::NotAllowed);
        for text in ["kick x", "ban x", "mute 5 x", "role moderator x"] {
            assert!(may(OWNER, text, &MEMBER).is_ok(), "{text}");
            assert_eq!(may(MEMBER, text, &MEMBER), refused, "{text}");
            assert_eq!(may(MEMBER, text, &OWNER), refused, "{text}");
            assert_eq!(may(MODERATOR, text, &OWNER), refused, "{text}");
        }
        assert!(may(MODERATOR, "kick x", &MEMBER).is_ok());
        assert!(may(OWNER, "ban x", &MODERATOR).is_ok());
        assert_eq!(may(MODERATOR, "role moderator x", &MEMBER), refused);
        for text in ["kick x", "mute 5 x", "role member x"] {
            assert_eq!(may(OWNER, text, &OWNER), refused, "{text}");
        }
        let by_operator = standings.decide(Judge::Operator, &decision("ban x"), &OWNER, false, AT);
        assert_eq!(by_operator.map(|standing| standing.role), Ok(Role::Member));
    }

    /// ROL-3.
    #[test]
    fn what_is_so_already_and_who_is_not_there_are_refused() {
        let standings = standings();
        let decide = |text: &str, is_member| {
            standings.decide(
                Judge::Account(OWNER),
                &decision(text),
                &MEMBER,
                is_member,
                AT,
            )
        };
        assert_eq!(decide("kick x", false), Err(Refusal::NoSuchMember));
        assert_eq!(
            decide("role moderator x", false),
            Err(Refusal::NoSuchMember)
        );
        assert!(decide("ban x", false).is_ok());
        for text in ["unban x", "unmute x", "role member x"] {
            assert_eq!(decide(text, true), Err(Refusal::NoEffect), "{text}");
        }
    }

    /// ROL-4, ROL-5.
    #[test]
    fn the_banned_stay_out_the_kicked_come_in_anew_and_the_muted_are_heard_later() {
        let mut standings = standings();
        let mut apply = |text: &str| {
            let after = decision(text).applied_to(standings.of(&MEMBER), AT);
            standings.set(MEMBER, after);
            let admit = |resumes| standings.admit(&MEMBER, resumes).err();
            let say = |now_ms| standings.may_publish(&MEMBER, Kind::Message, now_ms).err();
            (admit(false), admit(true), say(AT), say(AT + 5_000))
        };
        let (kicked, banned) = (Some(Refusal::Kicked), Some(Refusal::Banned));
        assert_eq!(apply("kick x"), (None, kicked, kicked, kicked));
        assert_eq!(apply("ban x"), (banned, banned, banned, banned));
        assert_eq!(apply("unban x"), (None, None, None, None));
        let muted = Some(Refusal::Muted);
        assert_eq!(apply("mute 5 x"), (None, None, muted, None));
        assert_eq!(apply("mute always x"), (None, None, muted, muted));
        assert_eq!(apply("unmute x"), (None, None, None, None));
        assert_eq!(standings.len(), 2, "nothing is left of it");
    }
}
