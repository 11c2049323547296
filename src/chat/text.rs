//! Making other people's text harmless to a terminal (CLI-5).

use core::fmt::Write as _;
use std::borrow::Cow;

/// Whether a terminal might act on `c` instead of drawing it, or draw nothing at all: controls,
/// bidirectional and other format characters, line and paragraph separators.
pub(super) fn is_unprintable(c: char) -> bool {
    c.is_control() || is_bidi_control(c) || is_invisible(c)
}

/// The bidirectional controls of Unicode (UAX 9, property Bidi_Control).
const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters without a shape of their own that could hide a difference between two names:
/// separators, zero-width and tag characters.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{00ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}'
            | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// `text` with every character that a terminal might act on replaced by a visible symbol (CLI-5):
/// C0 controls and DEL by their control pictures (`␛` for escape), C1 and bidirectional controls
/// and line separators by their code point (`<U+202E>`). Everything else is left as it is,
/// zero-width joiners in emoji included.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let acts =
        |c: char| c.is_control() || is_bidi_control(c) || matches!(c, '\u{2028}' | '\u{2029}');
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\0'..='\x1f' => out.extend(char::from_u32(0x2400 + u32::from(c))),
            '\x7f' => out.push('\u{2421}'),
            c if acts(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "<U+{:04X}>", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
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
    }

    proptest::proptest! {
        /// CLI-5.
        #[test]
        fn nothing_that_a_terminal_acts_on_is_left(text in ".*") {
            let shown = visible(&text);
            proptest::prop_assert!(!shown.chars().any(|c| c.is_control() || is_bidi_control(c)));
        }
    }
}
