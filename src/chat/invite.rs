//! Invites: what lets an account in that a broker does not know yet (SPEC.md section 10.2).

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;

use zeroize::Zeroizing;

use super::Refusal;
use super::line::sha256;

/// How many bytes an invite's secret has (ADM-2).
pub const INVITE_LEN: usize = 16;

/// Whoever has it may come in (ADM-2): random bytes, which stand in a URL and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteSecret(Zeroizing<[u8; INVITE_LEN]>);

/// What a broker keeps of a secret: it recognizes it, and nobody can be let in by it (ADM-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InviteMark(pub [u8; 32]);

/// Text that is no invite's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an invite is written as 32 hexadecimal digits")]
pub struct ParseInviteError;

/// How often and how long an invite lets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InviteTerms {
    /// How many accounts; `None` if any number.
    pub uses_max: Option<NonZeroU64>,
    /// From when on nobody any more, in milliseconds of Unix time; `None` if that never comes.
    pub expires_at_ms: Option<u64>,
    /// Whether it has been called back.
    pub is_revoked: bool,
}

impl InviteSecret {
    /// The secret of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; INVITE_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one message that says them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; INVITE_LEN] {
        &self.0
    }

    /// What the broker keeps of it (ADM-2).
    #[must_use]
    pub fn mark(&self) -> InviteMark {
        InviteMark(sha256(&[b"tertulia invite 1", &self.0[..]]))
    }

    /// Lower-case hex, for the one URL that it is made for.
    #[must_use]
    pub fn reveal(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Tells nothing.
impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(..)")
    }
}

impl FromStr for InviteSecret {
    type Err = ParseInviteError;

    fn from_str(text: &str) -> Result<Self, ParseInviteError> {
        read_hex(text).map(Self).ok_or(ParseInviteError)
    }
}

/// The bytes that `text` stands for, if it is as many hexadecimal digits as they need.
pub(super) fn read_hex<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let digits = text.as_bytes();
    let mut bytes = Zeroizing::new([0; N]);
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            // Below 16: two of them fill the byte.
            *byte = (*byte << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

impl InviteTerms {
    /// Whether one more may come in now that `uses` have (ADM-4).
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn admit(&self, uses: u64, now_ms: u64) -> Result<(), Refusal> {
        if self.is_revoked {
            Err(Refusal::InviteRevoked)
        } else if self.expires_at_ms.is_some_and(|at| at <= now_ms) {
            Err(Refusal::InviteExpired)
        } else if self.uses_max.is_some_and(|max| max.get() <= uses) {
            Err(Refusal::InviteUsedUp)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ADM-2.
    #[test]
    fn a_secret_is_read_back_from_its_text_and_never_shown_by_accident() {
        let secret = InviteSecret::new(*b"\x00\x01\x0f\x10\xa9\xff0123456789");
        let text = secret.reveal();
        assert_eq!(text, "00010f10a9ff30313233343536373839");
        assert_eq!(text.parse(), Ok(secret.clone()));
        assert_eq!(text.to_uppercase().parse(), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "InviteSecret(..)");
        for bad in ["", "00", &"0".repeat(33), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(bad.parse::<InviteSecret>(), Err(ParseInviteError), "{bad}");
        }
    }

    /// ADM-2: the mark that SPEC.md states.
    #[test]
    fn the_mark_is_the_hash_of_the_secret() {
        let secret = InviteSecret::new([7; INVITE_LEN]);
        let expected = sha256(&[
            b"tertulia invite 1\x07\x07\x07\x07\x07\x07\x07\x07",
            &[7; 8],
        ]);
        assert_eq!(secret.mark(), InviteMark(expected));
    }

    /// ADM-4.
    #[test]
    fn an_invite_lets_in_until_it_is_used_up_or_over() {
        let terms = InviteTerms {
            uses_max: NonZeroU64::new(2),
            expires_at_ms: Some(100),
            is_revoked: false,
        };
        assert_eq!(terms.admit(1, 99), Ok(()));
        assert_eq!(terms.admit(2, 99), Err(Refusal::InviteUsedUp));
        assert_eq!(terms.admit(2, 100), Err(Refusal::InviteExpired));
        let revoked = InviteTerms {
            is_revoked: true,
            ..terms
        };
        assert_eq!(revoked.admit(2, 100), Err(Refusal::InviteRevoked));
        assert_eq!(InviteTerms::default().admit(u64::MAX, u64::MAX), Ok(()));
    }
}
