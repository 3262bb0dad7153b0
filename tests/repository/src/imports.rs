//! The paths that a source names, by `use` or in place.

use std::collections::HashSet;

use crate::lexer::{Source, is_word, line_of};

/// One path from the root of the crate, and where it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its parts after `crate`; the last one is `*` for all of a module.
    pub path: Vec<String>,
    /// The number of the line, from 1.
    pub line: usize,
    /// What it is called here, where that is another name than its own.
    pub alias: Option<String>,
}

/// What one file says about others.
#[derive(Debug, Default)]
pub struct Imports {
    /// What it needs itself.
    pub used: Vec<Import>,
    /// What it hands on by `pub use`.
    pub handed_on: Vec<Import>,
    /// The words of the file, except for those in `use`.
    pub words: HashSet<String>,
    /// The items that it defines, which are found by the word before their name.
    pub defined: HashSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    PathSeparator,
    Sign(u8),
}

/// Words that a definition's name follows.
const DEFINES: [&str; 9] = [
    "const", "enum", "fn", "mod", "static", "struct", "trait", "type", "union",
];

/// Reads the production code of a file whose module has this path from the root of the crate.
pub fn read(text: &str, module: &[String]) -> Imports {
    let code = Source::new(text).production();
    let tokens = tokens(&code);
    let mut reader = Reader {
        code: &code,
        children: children(&tokens),
        tokens,
        at: 0,
        module: module.to_vec(),
        inner: Vec::new(),
        found: Imports::default(),
    };
    reader.read();
    reader.found
}

/// The modules that a file declares and that have files of their own.
fn children(tokens: &[(usize, Token<'_>)]) -> HashSet<String> {
    let declared = tokens.windows(3).filter_map(|three| match three {
        [(_, Token::Word("mod")), (_, Token::Word(name)), (_, Token::Sign(b';'))] => Some((*name).to_owned()),
        _ => None,
    });
    declared.collect()
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let bytes = code.as_bytes();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let begin = at;
        if is_word(bytes[at]) {
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            tokens.push((begin, Token::Word(&code[begin..at])));
        } else if bytes[at..].starts_with(b"::") {
            at += 2;
            tokens.push((begin, Token::PathSeparator));
        } else {
            at += 1;
            if !bytes[begin].is_ascii_whitespace() {
                tokens.push((begin, Token::Sign(bytes[begin])));
            }
        }
    }
    tokens
}

struct Reader<'a> {
    code: &'a str,
    tokens: Vec<(usize, Token<'a>)>,
    children: HashSet<String>,
    at: usize,
    module: Vec<String>,
    /// The modules within this file that surround the current token: each name, and the depth of braces outside of it.
    inner: Vec<(String, usize)>,
    found: Imports,
}

impl<'a> Reader<'a> {
    fn token(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|(_, token)| *token)
    }

    fn read(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.token(0) {
            match token {
                Token::Sign(b'{') => depth += 1,
                Token::Sign(b'}') => {
                    depth = depth.saturating_sub(1);
                    if self.inner.last().is_some_and(|(_, outside)| *outside == depth) {
                        self.inner.pop();
                    }
                }
                Token::Word("use") if !matches!(self.token(1), Some(Token::Sign(b'<'))) => {
                    let public = self.is_public();
                    self.at += 1;
                    self.tree(&[], public);
                    continue;
                }
                Token::Word("mod") if self.token(2) == Some(Token::Sign(b'{')) => {
                    if let Some(Token::Word(name)) = self.token(1) {
                        self.inner.push((name.to_owned(), depth));
                        self.found.defined.insert(name.to_owned());
                    }
                    depth += 1;
                    self.at += 3;
                    continue;
                }
                Token::Word(word) => {
                    self.word(word);
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Whether `pub`, or `pub(…)`, is before the current token.
    fn is_public(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).map(|at| self.tokens[at].1);
        let mut back = 1;
        if before(1) == Some(Token::Sign(b')')) {
            while before(back).is_some_and(|token| token != Token::Sign(b'(')) {
                back += 1;
            }
            back += 1;
        }
        before(back) == Some(Token::Word("pub"))
    }

    /// Takes in a word outside of `use`: a definition, a path's beginning, or the use of an item that has a name here.
    fn word(&mut self, word: &'a str) {
        let before = self.at.checked_sub(1).map(|at| self.tokens[at].1);
        if matches!(before, Some(Token::Word(keyword)) if DEFINES.contains(&keyword)) {
            self.found.defined.insert(word.to_owned());
            return;
        }
        if !matches!(before, Some(Token::PathSeparator)) {
            self.found.words.insert(word.to_owned());
            if self.token(1) == Some(Token::PathSeparator) {
                let mut path = vec![word.to_owned()];
                let mut ahead = 1;
                while let (Some(Token::PathSeparator), Some(Token::Word(next))) =
                    (self.token(ahead), self.token(ahead + 1))
                {
                    path.push(next.to_owned());
                    ahead += 2;
                }
                self.add(&path, None, false);
            }
        }
    }

    /// Reads the rest of a `use`, up to behind its semicolon, or one branch of it.
    fn tree(&mut self, prefix: &[String], public: bool) {
        let mut path = prefix.to_vec();
        let mut alias = None;
        let mut grouped = false;
        loop {
            match self.token(0) {
                Some(Token::Word("as")) => {
                    if let Some(Token::Word(name)) = self.token(1) {
                        alias = Some(name.to_owned());
                        self.at += 1;
                    }
                }
                Some(Token::Word(word)) => path.push(word.to_owned()),
                Some(Token::Sign(b'*')) => path.push("*".to_owned()),
                Some(Token::Sign(b'{')) => {
                    self.at += 1;
                    grouped = true;
                    while !matches!(self.token(0), None | Some(Token::Sign(b'}'))) {
                        self.tree(&path, public);
                        if self.token(0) == Some(Token::Sign(b',')) {
                            self.at += 1;
                        }
                    }
                }
                Some(Token::PathSeparator) => {}
                // What ends a branch is left to whoever reads the branches.
                Some(Token::Sign(b',' | b'}')) if !prefix.is_empty() || path.is_empty() => break,
                None | Some(Token::Sign(_)) => break,
            }
            self.at += 1;
        }
        if !grouped {
            self.add(&path, alias, public);
        }
    }

    /// Notes a path if it leads somewhere in this crate.
    fn add(&mut self, path: &[String], alias: Option<String>, public: bool) {
        let mut here = self.module.clone();
        here.extend(self.inner.iter().map(|(name, _)| name.clone()));
        let Some((first, mut rest)) = path.split_first() else {
            return;
        };
        let mut full = match first.as_str() {
            "crate" => Vec::new(),
            "self" => here,
            "super" => {
                here.pop();
                while let Some((next, after)) = rest.split_first().filter(|(next, _)| *next == "super") {
                    debug_assert_eq!(next, "super");
                    here.pop();
                    rest = after;
                }
                here
            }
            child if self.children.contains(child) => {
                here.push(child.to_owned());
                here
            }
            name => {
                // What a `use` has brought here under this name.
                let brought = |import: &&Import| {
                    import
                        .alias
                        .as_ref()
                        .or(import.path.last())
                        .is_some_and(|own| own == name)
                };
                match self.found.used.iter().find(brought) {
                    Some(import) => import.path.clone(),
                    None => return,
                }
            }
        };
        // `use a::{self}` is `use a`.
        full.extend(rest.iter().filter(|part| *part != "self").cloned());
        let line = line_of(self.code, self.tokens[self.at.min(self.tokens.len() - 1)].0);
        let import = Import {
            path: full,
            line,
            alias,
        };
        if public {
            self.found.handed_on.push(import);
        } else {
            self.found.used.push(import);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> Vec<String> {
        path.split("::")
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn paths(imports: &[Import]) -> Vec<String> {
        imports.iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn a_use_is_read_with_all_its_branches() {
        let text = "use crate::a::{self, B, c::{D, E as F}, g::*};\nuse super::h;\nuse self::i::J;\nuse std::fmt;\n";
        let found = read(text, &module("x::y"));
        let expect = ["a", "a::B", "a::c::D", "a::c::E", "a::g::*", "x::h", "x::y::i::J"];
        assert_eq!(paths(&found.used), expect);
        assert_eq!(found.used[3].alias.as_deref(), Some("F"));
        assert_eq!(found.used[5].line, 2);
    }

    #[test]
    fn a_pub_use_hands_on() {
        let text = "mod a;\npub use a::B;\npub(crate) use self::a::{C, D};\nuse a::E;\n";
        let found = read(text, &module("x"));
        assert_eq!(paths(&found.handed_on), ["x::a::B", "x::a::C", "x::a::D"]);
        assert_eq!(paths(&found.used), ["x::a::E"]);
    }

    #[test]
    fn a_path_in_place_counts_and_one_of_another_crate_does_not() {
        let text = "mod a;\nfn f(x: crate::b::C) -> std::io::Error { a::g(super::super::h::I); J::k() }\n";
        let found = read(text, &module("x::y"));
        assert_eq!(paths(&found.used), ["b::C", "x::y::a::g", "h::I"]);
        assert!(found.words.contains("J") && found.defined.contains("f"));
    }

    #[test]
    fn a_module_inside_of_the_file_shifts_super() {
        let text = "mod a {\n use super::b::C;\n fn f() { if x { super::D } }\n}\nuse super::E;\n";
        let found = read(text, &module("x::y"));
        assert_eq!(paths(&found.used), ["x::y::b::C", "x::y::D", "x::E"]);
    }

    #[test]
    fn a_path_goes_on_from_what_was_imported() {
        let found = read("use crate::a;\nuse crate::b::C as D;\nfn f() { a::e(); D::g() }\n", &[]);
        assert_eq!(paths(&found.used), ["a", "b::C", "a::e", "b::C::g"]);
    }

    #[test]
    fn tests_comments_and_texts_do_not_count() {
        let text =
            "// use crate::a;\nconst B: &str = \"use crate::c;\";\n#[cfg(test)]\nmod tests {\n use crate::d;\n}\n";
        assert_eq!(paths(&read(text, &[]).used), Vec::<String>::new());
    }
}
