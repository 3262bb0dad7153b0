//! An error as text, with all its causes.

use std::error::Error;

/// Returns an error and everything that caused it, outermost first, separated by `": "`.
///
/// Some libraries repeat their source at the end of their own text; such a cause is not written a second time. The
/// result is as long as the errors make it: a caller that logs or sends it sets the bound.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (text, causes) = texts.split_first().unwrap();
        let source = (!causes.is_empty()).then(|| Box::new(layers(causes)));
        Layer { text, source }
    }

    #[test]
    fn every_cause_is_written_once() {
        let check = |texts: &[&'static str], expected: &str| assert_eq!(error_chain(&layers(texts)), expected);
        check(&["cannot connect"], "cannot connect");
        check(
            &["cannot connect", "TLS failed", "no such host"],
            "cannot connect: TLS failed: no such host",
        );
        check(&["cannot connect: refused", "refused"], "cannot connect: refused");
    }
}
