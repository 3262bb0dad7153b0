//! The files of a crate that import each other in a circle.
//!
//! One file imports another one when its production code names an item of it. A name that a file only hands on by `pub use` is
//! an item of the file that defines it, so a `mod.rs` that re-exports its children imports none of them. It does import a child
//! when it uses what it re-exports.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::files::File;
use crate::imports::{self, Import, Imports};

/// Which file imports which, and the first line and path that say so.
pub type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// The shortest circle through each group of files that import each other, as text.
pub fn check(sources: &[File]) -> Vec<String> {
    circles(&graph(sources))
}

/// Reads which file of a crate imports which. Paths are relative to its `src`.
pub fn graph(sources: &[File]) -> Graph {
    let tests = test_files(sources);
    let sources: Vec<_> = sources
        .iter()
        // A `main.rs` beside a `lib.rs` is a crate of its own.
        .filter(|file| !tests.contains(&file.path) && file.path != "main.rs" && !file.path.starts_with("bin/"))
        .collect();
    let modules: HashMap<Vec<String>, &str> = sources
        .iter()
        .map(|file| (module(&file.path), file.path.as_str()))
        .collect();
    let read: HashMap<&str, Imports> = sources
        .iter()
        .map(|file| (file.path.as_str(), imports::read(&file.text, &module(&file.path))))
        .collect();
    let room = Room { modules, read };
    let mut graph = Graph::new();
    for file in &sources {
        let edges = graph.entry(file.path.clone()).or_default();
        let own = &room.read[file.path.as_str()];
        let used_again = own.handed_on.iter().filter(|import| {
            let name = import.alias.as_ref().or(import.path.last());
            name.is_some_and(|name| own.words.contains(name))
        });
        for import in own.used.iter().chain(used_again) {
            if let Some(target) = room.home(&import.path, 0).filter(|target| *target != file.path) {
                let why = || format!("line {}: crate::{}", import.line, import.path.join("::"));
                edges.entry(target.to_owned()).or_insert_with(why);
            }
        }
    }
    graph
}

/// The files that are compiled for tests alone, which are called `tests.rs`.
pub fn test_files(sources: &[File]) -> BTreeSet<String> {
    let is_test = |file: &&File| {
        file.path.ends_with("/tests.rs")
            || file.path == "tests.rs"
            || file.text.trim_start().starts_with("#![cfg(test)]")
    };
    sources.iter().filter(is_test).map(|file| file.path.clone()).collect()
}

/// The module that a file is: `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut parts: Vec<_> = path.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// The files of a crate by their modules, and what they say.
struct Room<'a> {
    modules: HashMap<Vec<String>, &'a str>,
    read: HashMap<&'a str, Imports>,
}

impl<'a> Room<'a> {
    /// The file that defines what this path names. `depth` bounds how often it was handed on.
    fn home(&self, path: &[String], depth: usize) -> Option<&'a str> {
        let (length, file) = (0..=path.len())
            .rev()
            .find_map(|length| Some((length, *self.modules.get(&path[..length])?)))?;
        let Some(item) = path.get(length) else {
            return Some(file);
        };
        let imports = &self.read[file];
        if item == "*" || imports.defined.contains(item) || depth == 8 {
            return Some(file);
        }
        let handed = |import: &&Import| import.alias.as_ref().or(import.path.last()) == Some(item);
        if let Some(import) = imports.handed_on.iter().find(handed) {
            return self.home(&import.path, depth + 1);
        }
        let globs = imports
            .handed_on
            .iter()
            .filter(|import| import.path.last().is_some_and(|last| last == "*"));
        let mut through =
            globs.map(|import| [&import.path[..import.path.len() - 1], std::slice::from_ref(item)].concat());
        let defines = |path: &Vec<String>| {
            let file = self.home(path, depth + 1)?;
            self.read[file].defined.contains(item).then_some(file)
        };
        through.find_map(|path| defines(&path)).or(Some(file))
    }
}

/// The shortest circle of each group of files in which every one leads to every other one.
fn circles(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    let mut named = BTreeSet::new();
    for file in graph.keys() {
        if named.contains(file) {
            continue;
        }
        let Some(circle) = shortest(graph, file) else {
            continue;
        };
        let group: BTreeSet<_> = graph
            .keys()
            .filter(|other| leads(graph, file, other) && leads(graph, other, file))
            .collect();
        // The shortest one of the group, not only of its first file.
        let circle = group
            .iter()
            .filter_map(|file| shortest(graph, file))
            .min_by_key(Vec::len)
            .unwrap_or(circle);
        named.extend(group.iter().copied().cloned());
        found.push(describe(graph, &circle, group.len()));
    }
    found
}

fn describe(graph: &Graph, circle: &[String], group: usize) -> String {
    let mut text = circle.join(" -> ");
    for pair in circle.windows(2) {
        if let Some(why) = graph.get(&pair[0]).and_then(|edges| edges.get(&pair[1])) {
            text.push_str(&format!("\n    {}, {why}", pair[0]));
        }
    }
    if group + 1 > circle.len() {
        text.push_str(&format!("\n    ({group} files lead to each other)"));
    }
    text
}

fn leads(graph: &Graph, from: &str, to: &str) -> bool {
    route(graph, from, to).is_some()
}

fn shortest(graph: &Graph, file: &str) -> Option<Vec<String>> {
    route(graph, file, file)
}

/// The shortest way from one file to another one, both included, with at least one step.
fn route(graph: &Graph, from: &str, to: &str) -> Option<Vec<String>> {
    let mut queue = VecDeque::from([vec![from.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = queue.pop_front() {
        for next in graph.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == to {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                queue.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        check(&files)
    }

    /// The first line of each finding, which names the circle.
    fn names(files: &[(&str, &str)]) -> Vec<String> {
        let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
        found(files).into_iter().map(first).collect()
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle_and_it_says_where() {
        let files = [
            ("a.rs", "use crate::b::B;\nstruct A;"),
            ("b.rs", "\nuse crate::a::A;\nstruct B;"),
            ("c.rs", "use crate::{a::A, b::B};"),
        ];
        assert_eq!(names(&files), ["a.rs -> b.rs -> a.rs"]);
        assert!(
            found(&files)[0].contains("b.rs, line 2: crate::a::A"),
            "{:?}",
            found(&files)
        );
    }

    #[test]
    fn a_circle_of_three_is_named_by_its_files() {
        let files = [
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use super::a::A;"),
        ];
        assert_eq!(names(&files), ["a.rs -> b.rs -> c.rs -> a.rs"]);
    }

    #[test]
    fn a_parent_that_only_re_exports_imports_none_of_its_children() {
        let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::*;");
        assert_eq!(
            names(&[lib, ("a.rs", "use crate::B; struct A;"), ("b.rs", "struct B;")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_circle_is_seen_through_re_exports() {
        let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::*;");
        let files = [
            lib,
            ("a.rs", "use crate::B; struct A;"),
            ("b.rs", "use crate::A; struct B;"),
        ];
        assert_eq!(names(&files), ["a.rs -> b.rs -> a.rs"]);
    }

    #[test]
    fn a_child_that_uses_its_parent_is_a_circle_when_the_parent_uses_the_child() {
        let child = ("a/b.rs", "use super::A;\nstruct B;");
        let uses = ("a/mod.rs", "mod b;\nuse b::B;\nstruct A;");
        assert_eq!(names(&[uses, child]), ["a/b.rs -> a/mod.rs -> a/b.rs"]);
        let uses_in_place = ("a/mod.rs", "mod b;\nstruct A(b::B);");
        assert_eq!(names(&[uses_in_place, child]), ["a/b.rs -> a/mod.rs -> a/b.rs"]);
        let uses_what_it_re_exports = ("a/mod.rs", "mod b;\npub use b::B;\nstruct A(B);");
        assert_eq!(
            names(&[uses_what_it_re_exports, child]),
            ["a/b.rs -> a/mod.rs -> a/b.rs"]
        );
        let declares = ("a/mod.rs", "mod b;\npub use b::B;\nstruct A;");
        assert_eq!(names(&[declares, child]), Vec::<String>::new());
    }

    #[test]
    fn tests_do_not_count() {
        let files = [
            ("a.rs", "use crate::b::B;\n#[cfg(test)]\nmod tests;"),
            ("a/tests.rs", "use super::*;"),
            ("b.rs", "#[cfg(test)]\nmod tests { use crate::a::A; }"),
        ];
        assert_eq!(names(&files), Vec::<String>::new());
    }
}
