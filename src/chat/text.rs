//! Making other people's text harmless to a terminal (CLI-5).

use core::fmt::Write as _;
use std::borrow::Cow;

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// Whether a terminal might act on `c` instead of drawing it, or draw nothing at all: controls,
/// bidirectional and other invisible characters, line and paragraph separators (CLI-5).
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || is_ignorable(c)
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
}

/// The bidirectional controls of Unicode (UAX 9, property Bidi_Control).
pub(super) const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters that have no shape of their own (Unicode's Default_Ignorable_Code_Point): joiners and
/// zero-width spaces, bidirectional controls, variation selectors, fillers, tags.
pub(super) const fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Characters that choose the shape of the one before them, as of many emoji.
const fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether `c` is to be replaced where it stands. A joiner between two characters that it may join,
/// and a variation selector after one, do what they are for.
fn hides(before: Option<char>, c: char, after: Option<char>) -> bool {
    let has_shape = |c: char| !c.is_whitespace() && !is_unprintable(c);
    let follows_shape = before.is_some_and(has_shape);
    match c {
        ZERO_WIDTH_JOINER | ZERO_WIDTH_NON_JOINER => {
            let joins = follows_shape || before.is_some_and(is_variation_selector);
            !(joins && after.is_some_and(has_shape))
        }
        c if is_variation_selector(c) => !follows_shape,
        c => is_unprintable(c),
    }
}

/// `text` with every character that a terminal might act on, or that nobody would see, replaced by a
/// visible symbol (CLI-5): C0 controls and DEL by their control pictures (`␛` for escape), the others
/// by their code point (`<U+202E>`). Everything else is left as it is, joiners in emoji included.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\0'..='\x1f' => out.extend(char::from_u32(0x2400 + u32::from(c))),
            '\x7f' => out.push('\u{2421}'),
            c if hides(before, c, chars.peek().copied()) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "<U+{:04X}>", u32::from(c));
            }
            c => out.push(c),
        }
        before = Some(c);
    }
    Cow::Owned(out)
}

/// The same for a text of several lines, whose line feeds stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c != '\n' && is_unprintable(c)) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> = text.split('\n').map(visible).collect();
    Cow::Owned(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-5.
    #[test]
    fn controls_become_visible_symbols() {
        assert_eq!(visible("plain, ünïcödé, 👩‍👩‍👧"), "plain, ünïcödé, 👩‍👩‍👧");
        assert_eq!(visible("\x1b[31mred\x07\x7f"), "␛[31mred␇␡");
        assert_eq!(visible("a\u{9b}31m"), "a<U+009B>31m");
        assert_eq!(visible("a\u{202e}b"), "a<U+202E>b");
        assert_eq!(visible("a\r\tb"), "a␍␉b");
        assert_eq!(visible("a\nb"), "a␊b");
        assert_eq!(visible_lines("a\nb\r\n"), "a\nb␍\n");
    }

    /// CLI-5.
    #[test]
    fn what_nobody_would_see_is_shown_but_where_it_shapes_what_is_seen() {
        for (text, shown) in [
            ("❤\u{fe0f} 👁\u{fe0f}\u{200d}🗨\u{fe0f}", None),
            ("می\u{200c}خواهم", None),
            ("क्\u{200d}ष", None),
            ("a\u{200b}b", Some("a<U+200B>b")),
            ("\u{200d}a", Some("<U+200D>a")),
            ("a\u{200d}", Some("a<U+200D>")),
            ("a \u{fe0f}", Some("a <U+FE0F>")),
            ("a\u{200d}\u{200d}b", Some("a<U+200D><U+200D>b")),
            ("a\u{fe0f}\u{fe0f}", Some("a\u{fe0f}<U+FE0F>")),
            ("\u{2060}\u{feff}\u{ad}", Some("<U+2060><U+FEFF><U+00AD>")),
            ("🏴\u{e0067}", Some("🏴<U+E0067>")),
            ("\u{3164}", Some("<U+3164>")),
            ("a\u{2028}b", Some("a<U+2028>b")),
        ] {
            assert_eq!(visible(text), shown.unwrap_or(text));
        }
    }

    /// CLI-5, SGN-3: the table of those without a shape is Unicode's, which the crate for confusables
    /// leaves out of its skeletons.
    #[test]
    fn the_invisible_characters_are_those_of_unicode() {
        for c in '\0'..=char::MAX {
            let has_no_skeleton = unicode_security::skeleton(&c.to_string()).next().is_none();
            assert_eq!(is_ignorable(c), has_no_skeleton, "U+{:04X}", u32::from(c));
        }
    }

    proptest::proptest! {
        /// CLI-5.
        #[test]
        fn nothing_that_a_terminal_acts_on_is_left(text in ".*") {
            let shown = visible(&text);
            let may_stay = |c| is_variation_selector(c) || matches!(c, '\u{200c}' | '\u{200d}');
            proptest::prop_assert!(!shown.chars().any(|c| is_unprintable(c) && !may_stay(c)));
        }

        /// CLI-5: what was shown once is shown as it is.
        #[test]
        fn what_is_visible_stays_so(text in "[a❤ \u{1b}\u{200b}-\u{200f}\u{fe0f}\u{202e}]{0,9}") {
            let shown = visible(&text).into_owned();
            proptest::prop_assert_eq!(visible(&shown), shown.as_str());
        }
    }
}
