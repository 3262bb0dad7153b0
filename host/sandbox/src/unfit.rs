//! Everything that a component is refused for, in words of bounded length.

/// How many imports that are not granted are listed.
const LISTED_MAX: usize = 32;

/// How much of a name is repeated, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// Everything that a component is refused for before it is compiled; the text of it follows the word "it".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unfit {
    /// The beginnings of the names of imports that are not granted.
    pub(crate) imports: Vec<String>,
    /// What else is wrong, each a clause that follows the word "it".
    pub(crate) problems: Vec<String>,
}

impl Unfit {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.imports.is_empty() && self.problems.is_empty()
    }

    /// Says what is wrong with at most `most` imports by name.
    pub fn describe(&self, most: usize) -> String {
        let mut clauses = Vec::new();
        if !self.imports.is_empty() {
            let listed = self.imports[..self.imports.len().min(most)].join(", ");
            let more = if self.imports.len() > most { ", …" } else { "" };
            clauses.push(format!("imports what is not granted: {listed}{more}{}", self.remedy()));
        }
        clauses.extend(self.problems.iter().cloned());
        clauses.join("; it ")
    }

    /// How the tools that most components come from are told to leave out what is not granted.
    fn remedy(&self) -> &'static str {
        let any = |is: &dyn Fn(&str) -> bool| self.imports.iter().any(|import| is(import));
        if any(&|import| import.starts_with("wasi:") && import.contains("@0.3.")) {
            " (that is WASI 0.3: build it for wasm32-wasip2)"
        } else if any(&|import| import.starts_with("wasi:http/")) {
            " (HTTP is left out by the features http and fetch-event in `disableFeatures` of componentize-js)"
        } else {
            ""
        }
    }

    /// Adds an import that is not granted.
    pub(crate) fn import(&mut self, name: &str) {
        if self.imports.len() < LISTED_MAX {
            self.imports.push(cut(name));
        } else if self.imports.len() == LISTED_MAX {
            self.imports.push("more".to_owned());
        }
    }
}

/// The beginning of a name on one line; a name that nobody has checked yet may hold anything.
pub(crate) fn cut(name: &str) -> String {
    let mut end = String::new();
    for c in name.chars().flat_map(char::escape_debug) {
        if end.len() + c.len_utf8() > NAME_BYTES_MAX {
            end.push('…');
            break;
        }
        end.push(c);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_refused_with_the_words_that_help() {
        let described = |imports: &[&str]| {
            let mut unfit = Unfit::default();
            imports.iter().for_each(|import| unfit.import(import));
            unfit.describe(8)
        };
        let wasip3 = described(&["wasi:cli/stdout@0.3.0", "wasi:http/types@0.3.0"]);
        assert!(
            wasip3.ends_with("(that is WASI 0.3: build it for wasm32-wasip2)"),
            "{wasip3}"
        );
        let http = described(&["wasi:http/outgoing-handler@0.2.3"]);
        assert!(http.contains("disableFeatures"), "{http}");
        assert_eq!(
            described(&["evil:io/poll@0.3.0"]),
            "imports what is not granted: evil:io/poll@0.3.0"
        );
    }

    // Shows P6: names of imports are repeated in part, and none of their lines.
    #[test]
    fn a_list_of_imports_is_short_whatever_their_names_are() {
        let mut unfit = Unfit::default();
        for number in 0..1000 {
            unfit.import(&format!("a{number}\n{}", "x".repeat(100_000)));
        }
        assert_eq!((unfit.imports.len(), unfit.imports[LISTED_MAX].as_str()), (33, "more"));
        assert!(unfit.imports[0].starts_with("a0\\nxxx"), "{}", unfit.imports[0]);
        assert!(unfit.imports[0].len() <= NAME_BYTES_MAX + '…'.len_utf8());
        assert!(unfit.describe(8).len() < 1000);
    }
}
