//! The file of the counts from before, and what they were made with.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::thing::Thing;

/// How the file begins.
const HEAD: &str = "\
# Instructions that each of these needs, in the build of the tests; `make bench-check` compares with them.
# Not to be changed by hand: `make bench-check UPDATE=1` writes this file.
";

/// What decides the counts beside the sources.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeWith {
    /// The compiler, as it names its version.
    pub rustc: String,
    /// The processor's architecture and the system.
    pub target: String,
    /// The compiler of SQLite and of the allocator, as it names its version.
    pub cc: String,
    /// The program that counts, as it names its version.
    pub valgrind: String,
    /// What the processor can do, as far as the compiler of components asks for it, and as valgrind has it: its processor is not
    /// the machine's, but can do no more.
    pub processor: String,
    /// How the sandbox resets what a call has written, which depends on the kernel and on swap.
    pub reset: String,
}

/// What was counted before.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// With what.
    pub made_with: MadeWith,
    /// The instructions, by the key of the thing.
    pub instructions: BTreeMap<String, u64>,
}

impl MadeWith {
    /// What is different, except for the compiler of Rust; each is a sentence.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let pairs = [
            ("target", &self.target, &now.target),
            ("C compiler", &self.cc, &now.cc),
            ("valgrind", &self.valgrind, &now.valgrind),
            ("processor", &self.processor, &now.processor),
            ("reset of instances", &self.reset, &now.reset),
        ];
        let different = pairs.into_iter().filter(|(_, before, now)| before != now);
        different
            .map(|(what, before, now)| format!("{what}: {now}; the baseline was made with {before}"))
            .collect()
    }
}

impl Baseline {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The file as it is written.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        let MadeWith {
            rustc,
            target,
            cc,
            valgrind,
            processor,
            reset,
        } = &self.made_with;
        text.push_str("\n[made_with]\n");
        for (key, value) in [
            ("rustc", rustc),
            ("target", target),
            ("cc", cc),
            ("valgrind", valgrind),
            ("processor", processor),
            ("reset", reset),
        ] {
            // Writing to a String cannot fail. What programs say of their version is quoted alike in TOML and in Rust.
            let _ = writeln!(text, "{key} = {value:?}");
        }
        text.push_str("\n[instructions]\n");
        for thing in Thing::ALL {
            if let Some(count) = self.instructions.get(thing.key()) {
                let _ = writeln!(text, "{} = {count}", thing.key());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_with() -> MadeWith {
        MadeWith {
            rustc: "rustc 1.95.0 (59807616e 2026-04-14)".to_owned(),
            target: "x86_64-linux".to_owned(),
            cc: "cc (Debian 12.2.0-14) 12.2.0".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
            processor: "avx avx2".to_owned(),
            reset: "page by page".to_owned(),
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let baseline = Baseline {
            made_with: made_with(),
            instructions: Thing::ALL.map(|thing| (thing.key().to_owned(), 7)).into(),
        };
        assert_eq!(Baseline::parse(&baseline.text()).unwrap(), baseline);
    }

    #[test]
    fn what_the_machine_has_differently_is_told_and_the_compiler_is_not() {
        let before = made_with();
        assert_eq!(before.differences(&before), Vec::<String>::new());
        let now = MadeWith {
            rustc: "rustc 1.96.0".to_owned(),
            processor: "avx".to_owned(),
            ..before.clone()
        };
        let told = ["processor: avx; the baseline was made with avx avx2"];
        assert_eq!(before.differences(&now), told);
    }
}
