//! How the FHIR server makes a text ready to be searched for; `str_value_lcase`.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

/// Without accents (Unicode NFD less U+0300–U+036F), each run of white space one space, in lower case:
/// `Núñez` is found as `nunez`. The search side of the server does the same with what it is asked for.
pub(crate) fn for_search(text: &str) -> Cow<'_, str> {
    if is_normal(text) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(one_space(text.chars()).to_ascii_lowercase());
    }
    let bare = text.nfd().filter(|c| !('\u{300}'..='\u{36f}').contains(c));
    Cow::Owned(one_space(bare).to_lowercase())
}

fn is_normal(text: &str) -> bool {
    let mut after_space = false;
    text.bytes().all(|byte| {
        let space = byte == b' ';
        let twice = space && after_space;
        after_space = space;
        matches!(byte, b' '..=b'@' | b'['..=b'\x7f') && !twice
    })
}

fn one_space(text: impl Iterator<Item = char>) -> String {
    let mut spaced = false;
    text.filter_map(|c| {
        // Java's \s: unlike Unicode's white space, and with the vertical tab.
        let space = matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
        let again = space && spaced;
        spaced = space;
        match (space, again) {
            (_, true) => None,
            (true, false) => Some(' '),
            (false, false) => Some(c),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_made_ready_as_the_server_does() {
        for (text, normal) in [
            ("", ""),
            ("nunez", "nunez"),
            ("Núñez", "nunez"),
            ("N\u{75}\u{301}n\u{303}ez", "nunez"),
            ("  a \t\r\n b  ", " a b "),
            ("a\u{b}\u{c}b", "a b"),
            ("a\u{a0} b", "a\u{a0} b"),
            ("ÅNGSTRÖM", "angstrom"),
            ("Straße", "straße"),
            ("ΟΔΟΣ", "οδος"),
            ("İ", "i"),
            ("Дмитрий", "дмитрии"),
            ("山田 太郎", "山田 太郎"),
            ("한글", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}"),
            ("A  B", "a b"),
        ] {
            assert_eq!(for_search(text), normal, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_ready_stays_as_it_is(text in "[ a-c1\\.]{0,8}|\\PC{0,12}") {
            let once = for_search(&text).into_owned();
            let short_cut = matches!(for_search(&once), Cow::Borrowed(_));
            if once.is_ascii() {
                prop_assert!(short_cut, "{:?}", once);
            }
            let slow = one_space(text.nfd().filter(|c| !('\u{300}'..='\u{36f}').contains(c))).to_lowercase();
            prop_assert_eq!(once, slow);
        }
    }
}
