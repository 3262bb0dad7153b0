//! The parts of a document that are generated, each between two comments; the prose around them is written by hand.

use anyhow::{Context, ensure};

/// Puts `generated` into the section `id` of a document, in place of what was there.
///
/// # Errors
///
/// When the section's comments are not there, once each and in this order: nothing must be overwritten that somebody wrote.
pub(super) fn replace(document: &str, id: &str, generated: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- measured: {id} -->"), format!("<!-- end of {id} -->"));
    let (before, rest) = once(document, &begin)?;
    let (_, after) = once(rest, &end)?;
    ensure!(!before.contains(&end), "`{end}` stands before `{begin}`");
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", generated.trim()))
}

/// What stands before and after a marker.
fn once<'a>(text: &'a str, marker: &str) -> anyhow::Result<(&'a str, &'a str)> {
    let (before, after) = text
        .split_once(marker)
        .with_context(|| format!("the line `{marker}` is missing"))?;
    ensure!(!after.contains(marker), "the line `{marker}` is there twice");
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        "# A\n\nby hand\n\n<!-- measured: a -->\nold\n<!-- end of a -->\n\n<!-- measured: b -->\n<!-- end of b -->\n";

    #[test]
    fn only_the_section_is_replaced_and_may_be_replaced_again() {
        let once = replace(DOCUMENT, "a", "new\n").unwrap();
        let expected = "# A\n\nby hand\n\n<!-- measured: a -->\n\nnew\n\n<!-- end of a -->\n\n<!-- measured: b -->\n<!-- end of b -->\n";
        assert_eq!(once, expected);
        assert_eq!(replace(&once, "a", "new").unwrap(), once);
        let other = replace(&once, "b", "more").unwrap();
        assert!(other.contains("\nnew\n") && other.contains("\nmore\n"), "{other}");
    }

    #[test]
    fn a_document_without_the_section_or_with_two_is_refused() {
        let error = |document: &str| replace(document, "a", "new").unwrap_err().to_string();
        assert_eq!(error("# A\n"), "the line `<!-- measured: a -->` is missing");
        assert_eq!(
            error("<!-- measured: a -->\n"),
            "the line `<!-- end of a -->` is missing"
        );
        let twice = format!("{DOCUMENT}{DOCUMENT}");
        assert_eq!(error(&twice), "the line `<!-- measured: a -->` is there twice");
        let ends_twice = format!("{DOCUMENT}<!-- end of a -->");
        assert_eq!(error(&ends_twice), "the line `<!-- end of a -->` is there twice");
        assert!(error("<!-- end of a -->\n<!-- measured: a -->\n").contains("missing"));
        let before = format!("<!-- end of a -->\n{DOCUMENT}");
        assert!(error(&before).contains("stands before"), "{}", error(&before));
    }
}
