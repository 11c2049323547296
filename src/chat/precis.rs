//! What a name may be made of: the Nickname profile of PRECIS (RFC 8266), whose characters are those
//! of the FreeformClass (RFC 8264 section 4.3) (SGN-3).
//!
//! RFC 8264 section 8 derives the class from the properties of characters, so that it grows with
//! Unicode; so does this. The one crate for PRECIS has the tables of Unicode 6.3, of 2013, and would
//! refuse whatever was added since; the tests hold this to it in all that was there then.

use unicode_normalization::{UnicodeNormalization as _, is_nfkc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use unicode_script::{Script, UnicodeScript as _};

use super::text::is_ignorable;

/// How often a text is mapped until that changes nothing more; RFC 8266 section 2.3 gives up then.
const MAPPINGS_MAX: u32 = 3;

/// `text` as the profile enforces it: its characters allowed, all spaces ASCII's, none at the ends
/// and no two beside each other, in normalization form KC. `None` if no such text can be made of it;
/// what is made may be empty.
pub(super) fn enforce(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..=MAPPINGS_MAX {
        if !is_freeform(&text) {
            return None;
        }
        let mapped = normalize(&map_spaces(&text));
        if mapped == text {
            return Some(text);
        }
        text = mapped;
    }
    None
}

fn map_spaces(text: &str) -> String {
    let is_space = |c: char| c.general_category() == GeneralCategory::SpaceSeparator;
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn normalize(text: &str) -> String {
    if is_nfkc(text) {
        text.to_owned()
    } else {
        text.nfkc().collect()
    }
}

/// Whether all characters are of the FreeformClass, where they stand.
fn is_freeform(text: &str) -> bool {
    let whole: Vec<char> = text.chars().collect();
    (0..whole.len()).all(|at| is_allowed(&whole, at))
}

/// RFC 8264 section 8. Joiners, which it allows in some places, are not allowed (SGN-3).
fn is_allowed(text: &[char], at: usize) -> bool {
    let c = text[at];
    if let Some(allowed) = exception(text, at) {
        return allowed;
    }
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    !is_old_hangul_jamo(c) && !is_ignorable(c) && has_a_shape(c.general_category())
}

/// Letters, marks, digits, spaces, symbols and punctuation (RFC 8264 section 9).
const fn has_a_shape(category: GeneralCategory) -> bool {
    !matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

/// The characters about which RFC 5892 decides by name (its section 2.6), some by the text around
/// them (its appendices A.3 to A.9).
fn exception(text: &[char], at: usize) -> Option<bool> {
    let before = at.checked_sub(1).map(|before| text[before]);
    let after = text.get(at + 1).copied();
    let is_of = |c: Option<char>, script| c.is_some_and(|c| c.script() == script);
    let has = |range: core::ops::RangeInclusive<char>| text.iter().any(|c| range.contains(c));
    Some(match text[at] {
        'ß' | 'ς' | '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '〇' => true,
        '·' => before == Some('l') && after == Some('l'),
        '\u{375}' => is_of(after, Script::Greek),
        '\u{5f3}' | '\u{5f4}' => is_of(before, Script::Hebrew),
        '・' => text.iter().any(|c| {
            matches!(
                c.script(),
                Script::Hiragana | Script::Katakana | Script::Han
            )
        }),
        '\u{660}'..='\u{669}' => !has('\u{6f0}'..='\u{6f9}'),
        '\u{6f0}'..='\u{6f9}' => !has('\u{660}'..='\u{669}'),
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => {
            false
        }
        _ => return None,
    })
}

/// Pieces of syllables that are not composed any more (RFC 8264 section 9.9).
const fn is_old_hangul_jamo(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97c}' | '\u{d7b0}'..='\u{d7fb}')
}

#[cfg(test)]
mod tests {
    use precis_profiles::Nickname;
    use precis_profiles::precis_core::profile::Profile as _;
    use precis_profiles::precis_core::{DerivedPropertyValue, Error};

    use super::*;

    /// SGN-3: every character that there is, alone and after another, against an implementation of
    /// Unicode 6.3.
    #[test]
    fn each_character_of_unicode_6_3_is_judged_as_another_implementation_does() {
        let peer = Nickname::new();
        let mut judged = 0;
        for c in '\0'..=char::MAX {
            // Two of which Unicode has changed its mind since.
            let is_assigned = |error: &Error| {
                matches!(error, Error::BadCodepoint(info)
                    if info.property != DerivedPropertyValue::Unassigned)
            };
            let text = format!("a{c}b");
            match peer.prepare(text.as_str()) {
                Ok(_) => assert!(is_freeform(&text), "{c:?} (U+{:04X})", u32::from(c)),
                Err(error) if is_assigned(&error) => {
                    assert!(!is_freeform(&text), "{c:?} (U+{:04X})", u32::from(c));
                }
                Err(_) => continue,
            }
            judged += 1;
        }
        assert!(judged > 240_000, "{judged}");
    }

    /// SGN-3: where it matters what stands beside a character.
    #[test]
    fn some_characters_are_allowed_in_their_place_only() {
        for good in ["l·l", "\u{375}α", "א\u{5f3}", "ア・ア", "\u{661}\u{662}"] {
            assert!(is_freeform(good), "{good}");
        }
        for bad in ["a·l", "·", "\u{375}a", "a\u{5f4}", "a・a", "\u{661}\u{6f1}"] {
            assert!(!is_freeform(bad), "{bad}");
        }
    }

    proptest::proptest! {
        /// SGN-3: what another implementation makes of a text is what this makes of it, where both
        /// know the characters.
        #[test]
        fn a_text_becomes_what_another_implementation_makes_of_it(
            text in "[a-zA-ZéßÅＡ-Ｚ①ﬁ\u{3000}\u{a0} ä\u{301}א-תа-я가-힣]{0,12}"
        ) {
            let peer = Nickname::new().enforce(text.as_str());
            let ours = enforce(&text).filter(|text| !text.is_empty());
            proptest::prop_assert_eq!(ours, peer.ok().map(std::borrow::Cow::into_owned));
        }
    }
}
