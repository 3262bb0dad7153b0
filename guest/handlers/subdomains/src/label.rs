//! The rules for labels: those of DNS and of IDNA, by UTS 46.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The most characters of a label, in the form in which DNS carries it.
const LABEL_CHARS_MAX: usize = 63;

/// One label of a domain name, valid by UTS 46: without transitional processing, with the checks of hyphens, joiners, bidi
/// and lengths, and with letters, digits and hyphens alone in ASCII (STD 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    ascii: String,
    unicode: String,
}

impl Label {
    /// Brings `text` into the forms of a label, or returns the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let ascii = Uts46::new().to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Ignore);
        let ascii = ascii.map_err(|_| LabelError::Invalid)?.into_owned();
        // Some other characters than the full stop separate labels too: they have become one by now.
        if ascii.contains('.') {
            return Err(LabelError::Several);
        }
        match ascii.len() {
            0 => return Err(LabelError::Empty),
            1..=LABEL_CHARS_MAX => {}
            chars => return Err(LabelError::TooLong { chars }),
        }
        let (unicode, valid) = Uts46::new().to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
        valid.map_err(|_| LabelError::Invalid)?;
        Ok(Self {
            unicode: unicode.into_owned(),
            ascii,
        })
    }

    /// Returns the label as DNS carries it: in lowercase ASCII, with `xn--` before what was encoded.
    pub fn ascii(&self) -> &str {
        &self.ascii
    }

    /// Returns the label as it is shown. It is the same as in ASCII unless something was encoded.
    pub fn unicode(&self) -> &str {
        &self.unicode
    }
}

/// The rule that a label breaks. The texts are meant for the person who chose the label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There is nothing in it.
    #[error("a subdomain has at least one character")]
    Empty,
    /// It is several labels.
    #[error("a subdomain is one label, without a dot")]
    Several,
    /// It is too long as DNS carries it.
    #[error("a subdomain has at most {LABEL_CHARS_MAX} characters as DNS carries it; this one has {chars}")]
    TooLong {
        /// How many characters it has.
        chars: usize,
    },
    /// It breaks a rule of UTS 46.
    #[error(
        "a subdomain has letters, digits and hyphens, no hyphen at either end or at the third and fourth character, and is valid by \
         UTS 46"
    )]
    Invalid,
    /// It is reserved.
    #[error("this subdomain is reserved")]
    Reserved,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_label_has_one_form_in_dns_and_one_to_show() {
        fn check(text: &str, ascii: &str, unicode: &str) {
            let label = Label::parse(text).unwrap();
            assert_eq!((label.ascii(), label.unicode()), (ascii, unicode), "{text:?}");
        }
        check("Shop", "shop", "shop");
        check("a-1", "a-1", "a-1");
        check("Bücher", "xn--bcher-kva", "bücher");
        check("bu\u{308}cher", "xn--bcher-kva", "bücher");
        check("XN--BCHER-KVA", "xn--bcher-kva", "bücher");
        check("straße", "xn--strae-oqa", "straße"); // not "strasse": that was the transitional processing
        check("ｓｈｏｐ", "shop", "shop");
        check("日本語", "xn--wgv71a119e", "日本語");
        check(&"x".repeat(63), &"x".repeat(63), &"x".repeat(63));
    }

    #[test]
    fn an_invalid_label_is_refused_with_the_rule_it_breaks() {
        fn check(text: &str, expected: LabelError) {
            assert_eq!(Label::parse(text), Err(expected), "{text:?}");
        }
        check("", LabelError::Empty);
        check("a.b", LabelError::Several);
        check("shop.", LabelError::Several);
        check("a\u{3002}b", LabelError::Several);
        check(&"x".repeat(64), LabelError::TooLong { chars: 64 });
        check("-a", LabelError::Invalid);
        check("a-", LabelError::Invalid);
        check("ab--c", LabelError::Invalid);
        check("a_b", LabelError::Invalid);
        check("a b", LabelError::Invalid);
        check("a*", LabelError::Invalid);
        check("xn--a", LabelError::Invalid); // no valid Punycode
        check("xn--shop-", LabelError::Invalid); // nothing in it was to be encoded
        check("a\u{200d}b", LabelError::Invalid); // a joiner where none belongs
        check("א1a", LabelError::Invalid); // both directions
    }

    proptest! {
        #[test]
        fn each_form_of_a_label_leads_to_the_same_label(text in "[a-zA-Z0-9ß-öéçłøλжяあ漢-]{1,20}") {
            if let Ok(label) = Label::parse(&text) {
                prop_assert_eq!(Label::parse(label.ascii()), Ok(label.clone()));
                prop_assert_eq!(Label::parse(label.unicode()), Ok(label));
            }
        }
    }
}
