//! Publications, and the rule by which a store takes them (SPEC.md section 9.3).

use bytes::Bytes;

use super::line::sha256;
use super::{Kind, Refusal};
use crate::bug;

/// The most bytes in the body of a line (LIM-2, PUB-5).
pub const CHAT_LINE_MAX: usize = 16_384;

/// What identifies a publication's content (PUB-3).
pub type Digest = [u8; 32];

/// Something a device wants stored in a room, under the device's own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The device's number for it in this room: 1, 2, 3, ... (PUB-1).
    pub n: u64,
    /// When it was typed, in milliseconds of Unix time.
    pub typed_at_ms: u64,
    /// What it is.
    pub kind: Kind,
    /// For a message, exactly what was typed.
    pub body: Bytes,
}

impl Publication {
    /// The digest by which a repetition is told from a conflict (PUB-3).
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&[
            &[self.kind.code()],
            &self.typed_at_ms.to_be_bytes(),
            &self.body,
        ])
    }
}

/// Why a text cannot be a line (PUB-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// There is nothing in it.
    #[error("an empty line is not sent")]
    Empty,
    /// More than [`CHAT_LINE_MAX`] bytes.
    #[error("a line has at most {CHAT_LINE_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// It is more than one line.
    #[error("a line cannot hold a line feed")]
    LineFeed,
}

impl From<TextError> for Refusal {
    fn from(error: TextError) -> Self {
        match error {
            TextError::TooLong => Self::TooLong,
            TextError::Empty | TextError::NotUtf8 | TextError::LineFeed => Self::BadText,
        }
    }
}

/// Whether `body` can be the text of a line (PUB-5).
///
/// # Errors
///
/// The first rule that it breaks.
pub fn check_body(body: &[u8]) -> Result<(), TextError> {
    if body.is_empty() {
        Err(TextError::Empty)
    } else if body.len() > CHAT_LINE_MAX {
        Err(TextError::TooLong)
    } else if core::str::from_utf8(body).is_err() {
        Err(TextError::NotUtf8)
    } else if body.contains(&b'\n') {
        Err(TextError::LineFeed)
    } else {
        Ok(())
    }
}

/// What a store has recorded of one publication, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Stored as the line with this number.
    Stored(u64),
    /// Refused for ever.
    Refused(Refusal),
}

/// A device's latest recorded publication in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastPublication {
    /// Its number; 0 if there is none.
    pub n: u64,
    /// Its digest; all zero if there is none.
    pub digest: Digest,
}

impl LastPublication {
    /// Before the first publication.
    pub const NONE: Self = Self {
        n: 0,
        digest: [0; 32],
    };
}

/// What a store must do with a publication (PUB-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: append it, or record its refusal.
    Next,
    /// It was seen before: this is its outcome.
    Again(Recorded),
    /// Its number was used for something else.
    Conflict,
    /// Publications before it are missing: this is the last one known.
    Gap(u64),
}

/// The rule of PUB-2. `last` is the device's latest number in the room; `recorded` looks up what
/// is known of a number up to `last`.
pub fn judge(
    n: u64,
    digest: &Digest,
    last: u64,
    recorded: impl FnOnce(u64) -> Option<(Digest, Recorded)>,
) -> Verdict {
    if n > last {
        let in_turn = n == last + 1 || bug!(NoGapCheck);
        return if in_turn {
            Verdict::Next
        } else {
            Verdict::Gap(last)
        };
    }
    if bug!(NoDedup) {
        return Verdict::Next;
    }
    match recorded(n) {
        Some((known, outcome)) if known == *digest => Verdict::Again(outcome),
        _ => Verdict::Conflict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(n: u64, body: &'static str) -> Publication {
        Publication {
            n,
            typed_at_ms: 5,
            kind: Kind::Message,
            body: body.into(),
        }
    }

    /// PUB-2.
    #[test]
    fn the_store_takes_the_next_repeats_the_known_and_refuses_the_rest() {
        let known = publication(2, "two");
        let recorded = |n| (n == 2).then_some((known.digest(), Recorded::Stored(40)));
        let rule = |p: &Publication| judge(p.n, &p.digest(), 2, recorded);
        assert_eq!(rule(&publication(3, "three")), Verdict::Next);
        assert_eq!(rule(&known), Verdict::Again(Recorded::Stored(40)));
        assert_eq!(rule(&publication(2, "other")), Verdict::Conflict);
        assert_eq!(rule(&publication(0, "zero")), Verdict::Conflict);
        assert_eq!(rule(&publication(4, "four")), Verdict::Gap(2));
    }

    /// PUB-3.
    #[test]
    fn the_digest_covers_kind_time_and_body() {
        let base = publication(1, "a");
        let mut later = base.clone();
        later.typed_at_ms += 1;
        let mut other_kind = base.clone();
        other_kind.kind = Kind::Other(70);
        let mut other_n = base.clone();
        other_n.n = 2;
        assert_ne!(base.digest(), later.digest());
        assert_ne!(base.digest(), other_kind.digest());
        assert_ne!(base.digest(), publication(1, "b").digest());
        assert_eq!(base.digest(), other_n.digest());
    }

    /// PUB-5, LIM-2.
    #[test]
    fn what_is_no_line_is_refused_with_its_reason() {
        assert_eq!(check_body(&[b'x'; CHAT_LINE_MAX]), Ok(()));
        assert_eq!(
            check_body(&[b'x'; CHAT_LINE_MAX + 1]),
            Err(TextError::TooLong)
        );
        assert_eq!(check_body(b""), Err(TextError::Empty));
        assert_eq!(check_body(b"a\nb"), Err(TextError::LineFeed));
        assert_eq!(check_body(&[0xff]), Err(TextError::NotUtf8));
        assert_eq!(Refusal::from(TextError::TooLong), Refusal::TooLong);
        assert_eq!(Refusal::from(TextError::NotUtf8), Refusal::BadText);
    }
}
