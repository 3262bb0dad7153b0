//! The length of each file without its unit tests.

use crate::circles::test_files;
use crate::files::File;
use crate::lexer::{Source, line_of};

/// The most lines that a file of production code may have: what tells one story.
pub const PRODUCTION_LINES_MAX: usize = 400;

/// The most lines that any file of tests may have.
pub const TEST_LINES_MAX: usize = 500;

/// How many lines each production file of a crate has, the longest first.
pub fn lengths(sources: &[File]) -> Vec<(usize, &str)> {
    let tests = test_files(sources);
    let production = sources.iter().filter(|file| !tests.contains(&file.path));
    let mut lengths: Vec<_> = production.map(|file| (lines(&file.text), file.path.as_str())).collect();
    lengths.sort_by(|a, b| b.cmp(a));
    lengths
}

/// The files that are longer than `max`, as text.
pub fn check(lengths: &[(usize, &str)], max: usize) -> Vec<String> {
    let long = lengths.iter().filter(|(lines, _)| *lines > max);
    long.map(|(lines, path)| format!("{path} has {lines} lines, and may have {max}"))
        .collect()
}

/// The median of these lengths.
pub fn median(lengths: &[(usize, &str)]) -> usize {
    let mut lines: Vec<_> = lengths.iter().map(|(lines, _)| *lines).collect();
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or_default()
}

/// How many lines a file has, except for those that only tests contain.
fn lines(text: &str) -> usize {
    let source = Source::new(text);
    let of_item =
        |item: std::ops::Range<usize>| line_of(text, item.end.min(text.len())) - line_of(text, item.start) + 1;
    let tests: usize = source.test_items().into_iter().map(of_item).sum();
    text.lines().count().saturating_sub(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_do_not_count() {
        assert_eq!(lines("fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n"), 2);
        assert_eq!(lines("fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n"), 2);
    }

    #[test]
    fn a_file_that_is_too_long_is_found_and_the_median_is_told() {
        let files = [
            File::new("a.rs", "1\n2\n3\n"),
            File::new("b.rs", "1\n2\n3\n4\n"),
            File::new("c.rs", "1\n"),
            File::new("c/tests.rs", "1\n2\n3\n4\n5\n6\n"),
        ];
        let lengths = lengths(&files);
        assert_eq!(lengths, [(4, "b.rs"), (3, "a.rs"), (1, "c.rs")]);
        assert_eq!(median(&lengths), 3);
        assert_eq!(check(&lengths, 3), ["b.rs has 4 lines, and may have 3"]);
        assert_eq!(check(&lengths, 4), Vec::<String>::new());
    }
}
