//! Names of people and rooms (SGN-3, RUM-1).

use core::cmp::Ordering;
use core::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};
use unicode_script::{Script, UnicodeScript as _};
use unicode_security::mixed_script::AugmentedScriptSet;
use unicode_segmentation::UnicodeSegmentation as _;

use super::precis;
use super::standing::OPERATOR;
use super::text::is_bidi_control;
use crate::secure::AccountKey;

/// The most bytes of UTF-8 in a name (LIM-2).
pub const NAME_BYTES_MAX: usize = 64;
/// The most characters in a name, as people count them: grapheme clusters (LIM-2).
pub const NAME_CHARS_MAX: usize = 32;
/// The most marks on one letter (LIM-2).
pub const NAME_MARKS_MAX: usize = 4;

/// The version of Unicode by which skeletons are made.
pub const UNICODE_VERSION: (u64, u64, u64) = unicode_security::UNICODE_VERSION;

/// Names that would be taken for something the program itself says (SGN-3).
const RESERVED: [&str; 2] = ["server", "you"];
/// U+2800: a symbol by its properties, and empty to the eye.
const BLANK_BRAILLE: char = '\u{2800}';

/// Why a text is no name. The text says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing but white space.
    #[error("a name cannot be empty")]
    Empty,
    /// Too many characters or bytes.
    #[error("a name has at most {NAME_CHARS_MAX} characters and {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// A control, format or separator character, or a colon or what looks like one.
    #[error(
        "a name cannot hold control, formatting or unassigned characters, or a colon or what \
         looks like one"
    )]
    Character,
    /// A mark on nothing, or too many on a letter.
    #[error("a name cannot begin with a mark, or have more than {NAME_MARKS_MAX} on a letter")]
    Marks,
    /// Letters of scripts that are not written together.
    #[error("a name cannot mix letters of scripts that are not written together")]
    MixedScripts,
    /// `SERVER` or `YOU`, or what looks like it.
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
    /// What `text` becomes by the rules for new names.
    fn new(text: &str) -> Result<Self, NameError> {
        if text.trim().is_empty() {
            return Err(NameError::Empty);
        }
        // No mapping makes less than a third of a text.
        if text.len() > 4 * NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let text = precis::enforce(text).ok_or(NameError::Character)?;
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX || text.graphemes(true).count() > NAME_CHARS_MAX {
            return Err(NameError::TooLong);
        }
        if text.contains(BLANK_BRAILLE) || unicode_security::skeleton(&text).any(|c| c == ':') {
            return Err(NameError::Character);
        }
        if has_stray_marks(&text) {
            return Err(NameError::Marks);
        }
        if mixes_scripts(&text) {
            return Err(NameError::MixedScripts);
        }
        Ok(Self::of(&text))
    }

    /// A name that somebody has, whatever was asked of it when it was new.
    fn recorded(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        // No rules ever allowed these. What else is invisible is shown when the name is (CLI-5).
        if text
            .chars()
            .any(|c| c.is_control() || is_bidi_control(c) || c == ':')
        {
            return Err(NameError::Character);
        }
        Ok(Self::of(text))
    }

    fn of(text: &str) -> Self {
        let written: Arc<str> = text.into();
        let lower = text.to_lowercase();
        let folded = if lower == text {
            Arc::clone(&written)
        } else {
            lower.into()
        };
        Self { written, folded }
    }
}

/// What `text` looks like: names that look the same have the same skeleton (UTS 39 section 4), and so
/// have those that differ only in case, or do in a script where it looks the same (SGN-8).
fn skeleton(text: &str) -> String {
    let once: String = unicode_security::skeleton(text).collect();
    unicode_security::skeleton(&once.to_lowercase()).collect()
}

/// Whether there are more marks than a letter bears (UTS 39 section 5.4), or one without a letter.
fn has_stray_marks(text: &str) -> bool {
    let is_mark = |c: char| c.general_category_group() == GeneralCategoryGroup::Mark;
    let decomposed: Vec<char> = text.nfd().collect();
    let mut runs = decomposed.split(|c| !is_mark(*c));
    decomposed.first().is_some_and(|c| is_mark(*c)) || runs.any(|run| run.len() > NAME_MARKS_MAX)
}

/// Whether there are letters of scripts that nobody writes together: all are to be of one script, or
/// of Latin and those of Chinese, Japanese or Korean ("highly restrictive", UTS 39 section 5.2).
fn mixes_scripts(text: &str) -> bool {
    if !AugmentedScriptSet::for_str(text).is_empty() {
        return false;
    }
    let goes_with_latin = |c: char| c.script_extension().contains_script(Script::Latin);
    let others: String = text.chars().filter(|c| !goes_with_latin(*c)).collect();
    let scripts = AugmentedScriptSet::for_str(&others);
    !(scripts.hanb || scripts.jpan || scripts.kore)
}

macro_rules! folded_name {
    ($name:ident) => {
        impl $name {
            /// A name that somebody has or that exists, as it was admitted: perhaps by other rules
            /// than today's. It is harmless, and short.
            ///
            /// # Errors
            ///
            /// If it was never a name.
            pub fn recorded(text: &str) -> Result<Self, NameError> {
                Folded::recorded(text).map(Self)
            }

            /// What the name looks like (SGN-8): two with the same skeleton are not told apart at a
            /// glance. Changes with the version of Unicode.
            #[must_use]
            pub fn skeleton(&self) -> String {
                skeleton(&self.0.written)
            }

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
    /// The name that `text` becomes by the rules of SGN-3.
    ///
    /// # Errors
    ///
    /// The first rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let name = Self(Folded::new(text)?);
        if RESERVED
            .iter()
            .any(|word| skeleton(word) == name.skeleton())
        {
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

    /// The name of the author who has this account: as [`recorded`](Self::recorded), or the
    /// operator's (ROL-6).
    ///
    /// # Errors
    ///
    /// The first rule that `text` breaks.
    pub fn of_author(text: &str, account: &AccountKey) -> Result<Self, NameError> {
        let operator = Self::operator();
        if *account == OPERATOR.0 && text == operator.as_str() {
            Ok(operator)
        } else {
            Self::recorded(text)
        }
    }
}

impl RoomName {
    /// The name that `text` becomes by the rules of RUM-1.
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

    fn name(text: &str) -> Result<String, NameError> {
        Name::new(text).map(|name| name.to_string())
    }

    /// SGN-3, LIM-2.
    #[test]
    fn names_follow_the_rules() {
        for good in [
            "ada",
            "Ada Lovelace",
            "李",
            "zoë-2",
            "Łukasz",
            "Ωμέγα",
            "יעל",
            "李 Lee",
            "アダ・A",
            "ada_1815",
            "🦀",
            "tom & ann",
            "o'brien",
            "김철수 2",
            &"x".repeat(32),
        ] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for (bad, why) in [
            ("", NameError::Empty),
            ("  ", NameError::Empty),
            ("\u{3000}", NameError::Empty),
            ("a\x1b[31m", NameError::Character),
            ("a\tb", NameError::Character),
            ("a\u{202e}b", NameError::Character),
            ("a\u{200b}b", NameError::Character),
            ("a\u{200d}b", NameError::Character),
            ("a\u{3164}b", NameError::Character),
            ("\u{2800}", NameError::Character),
            ("\u{378}", NameError::Character),
            ("\u{e000}", NameError::Character),
            ("a: b", NameError::Character),
            ("a： b", NameError::Character),
            ("a∶ b", NameError::Character),
            ("a\u{2028}b", NameError::Character),
            ("\u{301}a", NameError::Marks),
            ("a\u{316}\u{317}\u{318}\u{319}\u{31c}", NameError::Marks),
            ("pаypal", NameError::MixedScripts),
            ("αda", NameError::MixedScripts),
            ("Server", NameError::Reserved),
            ("YOU", NameError::Reserved),
            ("Y0U", NameError::Reserved),
            ("ꓬꓳꓴ", NameError::Reserved),
        ] {
            assert_eq!(name(bad), Err(why), "{bad:?}");
        }
    }

    /// SGN-3, LIM-2: characters are what people count, and bytes what is stored.
    #[test]
    fn a_name_is_limited_in_characters_and_in_bytes() {
        let composed = "e\u{301}".repeat(32);
        assert_eq!(name(&composed), Ok("é".repeat(32)));
        let marked = "x\u{323}\u{301}".repeat(12);
        assert_eq!(marked.chars().count(), 36);
        assert_eq!(name(&marked), Ok(marked));
        assert_eq!(name(&"x".repeat(33)), Err(NameError::TooLong));
        assert_eq!(name(&"李".repeat(22)), Err(NameError::TooLong));
        assert_eq!(name(&"ﷺ".repeat(4)), Err(NameError::TooLong));
        assert_eq!(name(&"a ".repeat(10_000)), Err(NameError::TooLong));
    }

    /// SGN-3: RFC 8266, sections 2.3 and 3.
    #[test]
    fn what_is_written_differently_becomes_the_same() {
        for (typed, becomes) in [
            (" ada ", "ada"),
            ("ada\u{3000}", "ada"),
            ("Ada   Lovelace", "Ada Lovelace"),
            ("Ａｄａ", "Ada"),
            ("ﬁnn", "finn"),
            ("zoe\u{308}", "zoë"),
        ] {
            assert_eq!(name(typed).as_deref(), Ok(becomes));
        }
    }

    /// SGN-8.
    #[test]
    fn names_that_look_the_same_have_one_skeleton() {
        let skeleton = |text: &str| Name::recorded(text).map(|name| name.skeleton());
        for (one, other) in [
            ("ace", "асе"),
            ("hop", "НОР"),
            ("Iulia", "lulia"),
            ("oscar", "0scar"),
            ("modern", "rnodern"),
            ("Ada", "aDA"),
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
        for (one, other) in [("ada", "bob"), ("user1", "user2"), ("zoe", "zoë")] {
            assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }

    /// SGN-3: what was a name once stays one, and is harmless all the same.
    #[test]
    fn a_name_of_older_rules_is_read_and_one_that_could_deceive_a_terminal_is_not() {
        for old in [
            "pаypal",
            "a∶ b",
            "Ａda",
            " ada",
            "❤\u{fe0f}",
            &"李".repeat(21),
        ] {
            let read = Name::recorded(old).map(|name| name.to_string());
            assert_eq!(read.as_deref(), Ok(old));
        }
        for bad in ["", "a\x1b", "a\u{202e}", "a:", &"x".repeat(65)] {
            assert!(RoomName::recorded(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        /// SGN-3: a node and its broker, or today's and tomorrow's, agree on what a text becomes.
        #[test]
        fn a_name_becomes_itself(text in ".{1,12}") {
            if let Ok(name) = Name::new(&text) {
                let text = name.to_string();
                for again in [Name::new(&text), Name::recorded(&text)] {
                    proptest::prop_assert_eq!(again.map(|name| name.to_string()), Ok(text.clone()));
                }
            }
        }
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
