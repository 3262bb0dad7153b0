//! Splits a Rust source into code and comments, and marks what only tests contain.

use std::ops::Range;

/// A source whose comments and the insides of whose literals have become spaces, so that a word in it is a word of the code.
/// Every byte keeps its place and every line break stays.
#[derive(Debug)]
pub struct Source {
    /// The code.
    pub code: String,
    /// The comments, in order. One of several lines is one for each line.
    pub comments: Vec<Comment>,
}

/// One line of a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The number of its line, from 1.
    pub line: usize,
    /// What follows `//`, `///`, `//!` or `/*`, without spaces at the ends.
    pub text: String,
}

impl Source {
    /// Reads a source.
    pub fn new(text: &str) -> Self {
        let mut code = text.as_bytes().to_vec();
        let mut comments = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text.as_bytes()[at..];
            let before = at.checked_sub(1).map(|before| text.as_bytes()[before]);
            let starts_word = !before.is_some_and(is_word);
            let end = if rest.starts_with(b"//") || rest.starts_with(b"/*") {
                let end = at + comment_length(rest);
                add_comments(text, at..end, &mut comments);
                blank(&mut code, at..end);
                end
            } else if let Some((open, length)) = literal(rest, starts_word) {
                blank(&mut code, at + open..at + length);
                at + length
            } else {
                at + 1
            };
            at = end;
        }
        // Only whole characters were replaced, by as many spaces as they had bytes.
        let code = String::from_utf8_lossy(&code).into_owned();
        Self { code, comments }
    }

    /// The parts of the code that are compiled for tests alone: an item with `#[cfg(test)]` from its attribute to its end.
    pub fn test_items(&self) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.code.trim_start().starts_with("#![cfg(test)]") {
            found.push(0..self.code.len());
        }
        for (begin, _) in self.code.match_indices("#[cfg(") {
            let condition = self.code[begin + "#[cfg(".len()..].trim_start();
            let is_test = condition.starts_with("test") || condition.starts_with("all(test");
            let inside = found.last().is_some_and(|last| last.contains(&begin));
            if is_test && !inside {
                found.push(begin..item_end(&self.code, begin));
            }
        }
        found
    }

    /// The code without what only tests contain.
    pub fn production(&self) -> String {
        let mut code = self.code.clone().into_bytes();
        for item in self.test_items() {
            blank(&mut code, item);
        }
        String::from_utf8_lossy(&code).into_owned()
    }
}

/// The number of the line, from 1, that this place is in.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Whether a byte can be part of a name.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn blank(code: &mut [u8], range: Range<usize>) {
    for byte in &mut code[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn comment_length(rest: &[u8]) -> usize {
    if rest.starts_with(b"//") {
        return rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    // Block comments nest.
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn add_comments(text: &str, range: Range<usize>, comments: &mut Vec<Comment>) {
    let first = line_of(text, range.start);
    for (number, line) in text[range].lines().enumerate() {
        let line = line.trim().trim_start_matches(['/', '*', '!']).trim_end_matches("*/");
        comments.push(Comment {
            line: first + number,
            text: line.trim().to_owned(),
        });
    }
}

/// The literal that begins here: how long its opening is, and the whole of it up to its closing quote. A lifetime is none.
fn literal(rest: &[u8], starts_word: bool) -> Option<(usize, usize)> {
    let prefix = if starts_word {
        rest.iter()
            .take_while(|byte| matches!(byte, b'b' | b'c' | b'r'))
            .count()
    } else {
        0
    };
    let raw = prefix > 0 && rest[prefix - 1] == b'r';
    let quoted = &rest[prefix..];
    match *quoted.first()? {
        b'"' | b'#' if raw => {
            let hashes = quoted.iter().take_while(|byte| **byte == b'#').count();
            if quoted.get(hashes) != Some(&b'"') {
                return None;
            }
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let open = prefix + hashes + 1;
            let inside = rest[open..].windows(close.len()).position(|part| part == close);
            Some((open, inside.map_or(rest.len(), |inside| open + inside + close.len())))
        }
        b'"' => Some((prefix + 1, prefix + escaped(quoted, b'"'))),
        b'\'' => {
            // A character is at most four bytes long.
            let text = String::from_utf8_lossy(&quoted[..quoted.len().min(9)]);
            let mut characters = text.char_indices().skip(1);
            let (_, first) = characters.next()?;
            let (second_at, second) = characters.next()?;
            if first == '\\' {
                Some((prefix + 1, prefix + escaped(quoted, b'\'')))
            } else if second == '\'' {
                Some((prefix + 1, prefix + second_at + 1))
            } else {
                None
            }
        }
        _ => None,
    }
}

/// How long a literal with escapes is, its quotes included.
fn escaped(quoted: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < quoted.len() {
        match quoted[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    quoted.len()
}

/// Where the item ends whose first attribute begins here: behind its braces, or behind its semicolon where it has none.
fn item_end(code: &str, begin: usize) -> usize {
    let bytes = code.as_bytes();
    let mut at = begin;
    // Attributes, and what is between them.
    while let Some(open) = bytes[at..].iter().position(|byte| !byte.is_ascii_whitespace()) {
        if bytes[at + open] != b'#' {
            break;
        }
        at = closed(bytes, at + open, b'[', b']');
    }
    let mut depth = 0_usize;
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return at + 1,
            b'{' if depth == 0 => return closed(bytes, at, b'{', b'}'),
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Behind the bracket that closes the first one from here on.
fn closed(bytes: &[u8], from: usize, open: u8, close: u8) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        if *byte == open {
            depth += 1;
        } else if *byte == close {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return at + 1;
            }
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "let a = \"use x; // no\"; // use y\nlet b = 'u'; /* use /* z */ */ fn f<'a>(c: &'a str) { r#\"use \"q\"\"# }\n";
        let source = Source::new(text);
        assert_eq!(source.code.len(), text.len());
        assert!(!source.code.contains("use"), "{}", source.code);
        for word in ["let a = \"", "let b = '", "fn f<'a>(c: &'a str) {"] {
            assert!(source.code.contains(word), "{word}: {}", source.code);
        }
        let comments: Vec<_> = source.comments.iter().map(|c| (c.line, c.text.as_str())).collect();
        assert_eq!(comments, [(1, "use y"), (2, "use /* z */")]);
    }

    #[test]
    fn escapes_and_unusual_literals_do_not_derail_it() {
        let text = r####"let a = ["\\", "\"", '\'', '"', b'x', 'ß', "ß\
            "]; let r = br##"a"#b"##; let bar = 1; r"\"; end()"####;
        let code = Source::new(text).code;
        assert!(code.contains("let bar = 1;") && code.ends_with("end()"), "{code}");
    }

    #[test]
    fn documentation_is_a_comment_without_its_marks() {
        let source = Source::new("//! One.\n/// Two.\n/** Three\n * four */\n");
        let comments: Vec<_> = source.comments.iter().map(|c| (c.line, c.text.as_str())).collect();
        assert_eq!(comments, [(1, "One."), (2, "Two."), (3, "Three"), (4, "four")]);
    }

    #[test]
    fn what_only_tests_contain_is_no_production_code() {
        let text = "fn a() {}\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod more {\n fn c(x: [u8; 2]) { {} }\n}\n\
                    #[cfg(all(test, unix))]\nfn d(x: [u8; 2]) {}\nfn e() {}\n";
        let production = Source::new(text).production();
        let names: Vec<_> = production
            .split_whitespace()
            .filter(|word| word.ends_with("()"))
            .collect();
        assert_eq!(names, ["a()", "b()", "e()"]);
        assert!(!production.contains("mod"), "{production}");
        assert_eq!(Source::new("#![cfg(test)]\nfn a() {}").production().trim(), "");
    }
}
