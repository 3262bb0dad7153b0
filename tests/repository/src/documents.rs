//! Links, anchors and code blocks in Markdown, and comments that are too wide.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::File;
use crate::lexer::Source;

/// The most characters of a line with a comment. Comments wrap at 120; a table or an address may be longer.
pub const COMMENT_WIDTH_MAX: usize = 200;

/// Checks that every relative link of these documents leads to a file and to a heading of it. `exists` tells whether a path,
/// relative to the root, is a file or a folder.
pub fn links(documents: &[File], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&str, BTreeSet<String>> = documents
        .iter()
        .map(|file| (file.path.as_str(), anchors(&file.text)))
        .collect();
    let mut found = Vec::new();
    for file in documents {
        for (line, target) in targets(&file.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let place = format!("{}:{line}: ", file.path);
            let Some(path) = resolve(&file.path, path) else {
                found.push(format!("{place}{target} leads out of the repository"));
                continue;
            };
            if !exists(&path) {
                found.push(format!("{place}there is no {path}"));
            } else if !anchor.is_empty()
                && anchors
                    .get(path.as_str())
                    .is_some_and(|anchors| !anchors.contains(anchor))
            {
                found.push(format!("{place}{path} has no heading #{anchor}"));
            }
        }
    }
    found
}

/// Checks that every fenced block of a document says its language.
pub fn languages(document: &File) -> Vec<String> {
    let unnamed = |(number, line): (usize, &Line<'_>)| {
        (*line == Line::Opens(""))
            .then(|| format!("{}:{}: the block does not say its language", document.path, number + 1))
    };
    lines(&document.text).iter().enumerate().filter_map(unnamed).collect()
}

/// Checks that no line of a source that has a comment is wider than [`COMMENT_WIDTH_MAX`].
pub fn comment_width(source: &File) -> Vec<String> {
    let commented: BTreeSet<_> = Source::new(&source.text)
        .comments
        .into_iter()
        .map(|comment| comment.line)
        .collect();
    let mut found = Vec::new();
    for (line, text) in (1..).zip(source.text.lines()) {
        let width = text.chars().count();
        if width > COMMENT_WIDTH_MAX && commented.contains(&line) {
            found.push(format!("{}:{line}: a comment of {width} characters", source.path));
        }
    }
    found
}

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Text(&'a str),
    /// Begins a fenced block in this language.
    Opens(&'a str),
    /// Within a fenced block, or its end.
    Block,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut fence = None;
    let read = |line| {
        let trimmed: &str = str::trim(line);
        let mark = trimmed
            .chars()
            .next()
            .filter(|mark| matches!(mark, '`' | '~'))
            .unwrap_or(' ');
        let length = trimmed.chars().take_while(|next| *next == mark).count();
        match fence {
            None if mark != ' ' && length >= 3 => {
                fence = Some((mark, length));
                Line::Opens(trimmed[length..].trim())
            }
            None => Line::Text(line),
            Some((open, least)) => {
                if mark == open && length >= least && trimmed.len() == length {
                    fence = None;
                }
                Line::Block
            }
        }
    };
    text.lines().map(read).collect()
}

/// Where the links of a document lead, with their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    // A title may follow on the address.
    let address = |target: &str| {
        let first = target.split_whitespace().next().unwrap_or_default();
        first.trim_matches(['<', '>']).to_owned()
    };
    let mut found = Vec::new();
    for (number, line) in (1..).zip(lines(text)) {
        let Line::Text(line) = line else {
            continue;
        };
        let line = without_code(line);
        let definition = line
            .trim_start()
            .starts_with('[')
            .then(|| line.split_once("]: "))
            .flatten();
        found.extend(definition.map(|(_, target)| (number, address(target))));
        for (at, open) in line.match_indices("](") {
            let rest = &line[at + open.len()..];
            found.extend(rest.find(')').map(|end| (number, address(&rest[..end]))));
        }
    }
    found
}

/// A line whose `code` has become spaces.
fn without_code(line: &str) -> String {
    let mut inside = false;
    let blank = |character| {
        inside ^= character == '`';
        if inside || character == '`' { ' ' } else { character }
    };
    line.chars().map(blank).collect()
}

/// The path from the root of what a document links to; none: it is outside of the repository.
fn resolve(document: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(document.to_owned());
    }
    let mut parts: Vec<_> = document.split('/').collect();
    parts.pop();
    if link.starts_with('/') {
        parts.clear();
    }
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a document as GitHub makes them: of its headings, and those that are written in HTML.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut counts = BTreeMap::new();
    for line in lines(text) {
        let Line::Text(line) = line else {
            continue;
        };
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if (1..=6).contains(&level) && line[level..].starts_with(' ') {
            let slug = slug(&line[level..]);
            let count = counts.entry(slug.clone()).or_insert(0);
            anchors.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
            *count += 1;
        }
        for attribute in ["id=\"", "name=\""] {
            let after = line.split(attribute).skip(1);
            anchors.extend(after.filter_map(|rest| rest.split_once('"').map(|(anchor, _)| anchor.to_owned())));
        }
    }
    anchors
}

/// Makes an anchor of a heading: lower case, no punctuation, a hyphen for each space.
fn slug(heading: &str) -> String {
    let heading = link_texts(heading.trim());
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// A heading whose links have become their texts.
fn link_texts(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, behind)| behind);
    }
    text.push_str(rest);
    text
}

/// Checks that the last column of each table headed `shown by` names only tests and faults that there are: what has
/// spaces is a fault, which the chaos test calls so.
pub fn shown_by(document: &File, sources: &[File]) -> Vec<String> {
    let exists = |name: &str| {
        let wanted = if name.contains(' ') {
            format!("\"{name}\"")
        } else {
            format!("fn {name}(")
        };
        sources.iter().any(|source| source.text.contains(&wanted))
    };
    let mut found = Vec::new();
    let mut in_table = false;
    for (number, line) in document.text.lines().enumerate() {
        if !line.starts_with('|') {
            in_table = false;
            continue;
        }
        in_table |= line.trim_end().ends_with("| shown by |");
        let Some(last) = line
            .trim_end()
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .filter(|_| in_table)
        else {
            continue;
        };
        for name in last.split('`').skip(1).step_by(2).filter(|name| !exists(name)) {
            found.push(format!("{}:{}: there is no {name:?}", document.path, number + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad_links(text: &str) -> Vec<String> {
        let documents = [
            File::new(
                "README.md",
                "# Map of the code\n## Errors\n## Errors\n<a id=\"here\"></a>\n",
            ),
            File::new("docs/a.md", text),
        ];
        links(&documents, |path| ["README.md", "docs/a.md", "host"].contains(&path))
    }

    #[test]
    fn links_that_lead_somewhere_are_good() {
        let text = "# The way: `a/b` & _c_\n[a](../README.md) [b](../README.md#map-of-the-code \"title\") [c](#the-way-ab--_c_)\n\
                    [d](../README.md#errors-1) [e](https://x.y/z) [f](../host) [g](../host/) [h](../README.md#here)\n[i]: ../README.md#errors\n\
                    `[j](no)`\n```text\n[k](no)\n```\n";
        assert_eq!(bad_links(text), Vec::<String>::new());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let found =
            bad_links("[a](no.md)\n\n[b](../README.md#no) [c](#no)\n[d](../../x)\n[e]: ../README.md#errors-2\n");
        let expect = [
            "docs/a.md:1: there is no docs/no.md",
            "docs/a.md:3: README.md has no heading #no",
            "docs/a.md:3: docs/a.md has no heading #no",
            "docs/a.md:4: ../../x leads out of the repository",
            "docs/a.md:5: README.md has no heading #errors-2",
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn a_block_without_a_language_is_found() {
        let text = "```toml\n```\n\n  ```\n# no heading\n  ```\n~~~sh\n```\n~~~\n````\n```\n````\n";
        let document = File::new("a.md", text);
        let expect = [
            "a.md:4: the block does not say its language",
            "a.md:10: the block does not say its language",
        ];
        assert_eq!(languages(&document), expect);
        assert_eq!(anchors(text), BTreeSet::new());
    }

    #[test]
    fn a_comment_that_is_too_wide_is_found() {
        let wide = "ß".repeat(COMMENT_WIDTH_MAX - 2);
        let source = |text: &str| comment_width(&File::new("a.rs", text));
        assert_eq!(
            source(&format!("//{wide}\nlet a = \"{wide}{wide}\";\n")),
            Vec::<String>::new()
        );
        assert_eq!(
            source(&format!("\n// {wide}\n")),
            ["a.rs:2: a comment of 201 characters"]
        );
    }
}
