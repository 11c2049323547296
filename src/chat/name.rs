//! Names of people and rooms (SGN-3, RUM-1).

use core::cmp::Ordering;
use core::fmt;
use std::sync::Arc;

use super::standing::OPERATOR;
use super::text::is_unprintable;
use crate::secure::AccountKey;

/// The most bytes of UTF-8 in a name (LIM-2).
pub const NAME_BYTES_MAX: usize = 64;
/// The most characters in a name (LIM-2).
pub const NAME_CHARS_MAX: usize = 32;

/// Names that would be taken for something the program itself says (SGN-3).
const RESERVED: [&str; 2] = ["server", "you"];

/// Why a text is no name. The text says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing but white space.
    #[error("a name cannot be empty")]
    Empty,
    /// Too many characters or bytes.
    #[error("a name has at most {NAME_CHARS_MAX} characters and {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// White space at an end.
    #[error("a name cannot begin or end with white space")]
    Padded,
    /// A control, format or separator character, or a colon.
    #[error("a name cannot hold control or formatting characters, or a colon")]
    Character,
    /// `SERVER` or `YOU`.
    #[error("this name is reserved")]
    Reserved,
}

/// The name of an account (SGN-3). Names that differ only in case are equal.
#[derive(Clone)]
pub struct Name(Folded);

/// The name of a room (RUM-1). Names that differ only in case are equal.
#[derive(Clone)]
pub struct RoomName(Folded);

/// A text as written, compared without regard to case.
#[derive(Clone)]
struct Folded {
    written: Arc<str>,
    folded: Arc<str>,
}

impl Folded {
    fn new(text: &str) -> Result<Self, NameError> {
        if text.trim().is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX || text.chars().count() > NAME_CHARS_MAX {
            return Err(NameError::TooLong);
        }
        if text.trim() != text {
            return Err(NameError::Padded);
        }
        if text.chars().any(|c| is_unprintable(c) || c == ':') {
            return Err(NameError::Character);
        }
        let written: Arc<str> = text.into();
        let lower = text.to_lowercase();
        let folded = if lower == text {
            Arc::clone(&written)
        } else {
            lower.into()
        };
        Ok(Self { written, folded })
    }
}

macro_rules! folded_name {
    ($name:ident) => {
        impl $name {
            /// The name as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0.written
            }

            /// The form that is compared: lower case.
            #[must_use]
            pub fn folded(&self) -> &str {
                &self.0.folded
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.folded == other.0.folded
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.folded.cmp(&other.0.folded)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.written)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0.written, f)
            }
        }
    };
}

folded_name!(Name);
folded_name!(RoomName);

impl Name {
    /// Checks the rules of SGN-3.
    ///
    /// # Errors
    ///
    /// The first rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let name = Self(Folded::new(text)?);
        if RESERVED.contains(&name.folded()) {
            Err(NameError::Reserved)
        } else {
            Ok(name)
        }
    }
}

impl Name {
    /// Under which the decisions of the broker's operator stand (ROL-6); no account has it.
    #[must_use]
    pub fn operator() -> Self {
        let server: Arc<str> = "SERVER".into();
        Self(Folded {
            written: server,
            folded: RESERVED[0].into(),
        })
    }

    /// The name of the author who has this account: as [`new`](Self::new), or the operator's (ROL-6).
    ///
    /// # Errors
    ///
    /// The first rule that `text` breaks.
    pub fn of_author(text: &str, account: &AccountKey) -> Result<Self, NameError> {
        let operator = Self::operator();
        if *account == OPERATOR.0 && text == operator.as_str() {
            Ok(operator)
        } else {
            Self::new(text)
        }
    }
}

impl RoomName {
    /// Checks the rules of RUM-1.
    ///
    /// # Errors
    ///
    /// The first rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        Folded::new(text).map(Self)
    }
}

/// The room that everybody is in unless they say otherwise.
impl Default for RoomName {
    fn default() -> Self {
        let lobby: Arc<str> = "lobby".into();
        Self(Folded {
            written: Arc::clone(&lobby),
            folded: lobby,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SGN-3, LIM-2.
    #[test]
    fn names_follow_the_rules() {
        for good in ["ada", "Ada Lovelace", "李", &"x".repeat(32), "zoë-2"] {
            assert_eq!(Name::new(good).map(|n| n.to_string()).as_deref(), Ok(good));
        }
        for (bad, why) in [
            ("", NameError::Empty),
            ("  ", NameError::Empty),
            (" ada", NameError::Padded),
            ("ada\u{3000}", NameError::Padded),
            ("a\x1b[31m", NameError::Character),
            ("a\u{202e}b", NameError::Character),
            ("a\u{200b}b", NameError::Character),
            ("a: b", NameError::Character),
            ("a\u{2028}b", NameError::Character),
            ("Server", NameError::Reserved),
            ("YOU", NameError::Reserved),
        ] {
            assert_eq!(Name::new(bad), Err(why), "{bad:?}");
        }
        assert_eq!(Name::new(&"x".repeat(33)), Err(NameError::TooLong));
        assert_eq!(Name::new(&"李".repeat(22)), Err(NameError::TooLong));
    }

    /// SGN-3, RUM-1.
    #[test]
    fn names_that_differ_only_in_case_are_the_same() {
        assert_eq!(Name::new("Ada"), Name::new("aDA"));
        assert_eq!(RoomName::new("Lobby"), RoomName::new("lobby"));
        assert_eq!(
            RoomName::new("you").map(|n| n.to_string()).as_deref(),
            Ok("you")
        );
    }
}
