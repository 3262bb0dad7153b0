//! The counts of now beside the baseline, and what to do about the difference.

use std::fmt::Write as _;

use crate::baseline::{Baseline, MadeWith};
use crate::thing::Thing;

/// From which change on something is said, in thousandths of the baseline. A run differs from the next one by less than 20.
pub const TOLERATED: u64 = 50;

/// What was counted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// With what.
    pub made_with: MadeWith,
    /// How many instructions each thing needs; none where the machine cannot tell.
    pub things: Vec<(Thing, Option<u64>)>,
}

/// What a count of now is, beside the one from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Within,
    More,
    Less,
    /// There is no count from before.
    New,
    /// There is none of now.
    NotCounted,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What is to be printed.
    pub text: String,
    /// Whether the change must not land as it is.
    pub fails: bool,
}

/// Compares the counts of now with the baseline.
///
/// It fails where something needs more instructions than is tolerated, where something has no baseline, and where the baseline is
/// of another version of Rust, which is pinned, so whoever changes it renews the baseline. With another C compiler, valgrind or
/// processor, nobody can tell where a difference comes from: it is shown, and fails nothing.
pub fn compare(baseline: &Baseline, now: &Counts) -> Comparison {
    let different = baseline.made_with.differences(&now.made_with);
    let other_rust = baseline.made_with.rustc != now.made_with.rustc;
    let mut text = format!(
        "{:<16}{:>14}{:>14}{:>10}\n",
        "instructions", "baseline", "now", "change"
    );
    let mut seen = Vec::new();
    for (thing, count) in &now.things {
        let before = baseline.instructions.get(thing.key()).copied();
        seen.push((thing, change(before, *count)));
        let shown = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), grouped);
        let part = before.zip(*count).map_or_else(|| "–".to_owned(), percent);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<16}{:>14}{:>14}{part:>10}",
            thing.key(),
            shown(before),
            shown(*count)
        );
    }
    let names = |wanted: Change| {
        let of = seen.iter().filter(|(_, change)| *change == wanted);
        let names: Vec<_> = of.map(|(thing, _)| thing.key()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let mut say = |line: &str| text.extend(["\n", line, "\n"]);
    let tolerated = format!("{} %", TOLERATED / 10);
    if let Some(names) = names(Change::NotCounted) {
        say(&format!(
            "{names}: not counted, because this processor can do more than valgrind's (AVX-512), and code is compiled for it"
        ));
    }
    if let Some(names) = names(Change::New) {
        say(&format!(
            "{names}: not in the baseline; write it with `make bench-check UPDATE=1`"
        ));
    }
    if other_rust {
        say(&format!(
            "this is {}, and the baseline was made with {}: renew it with `make bench-check UPDATE=1`, in the commit that \
             changes rust-toolchain.toml",
            now.made_with.rustc, baseline.made_with.rustc
        ));
    }
    if !different.is_empty() {
        say(&format!(
            "this machine differs, so more than {tolerated} here fails nothing:"
        ));
        different.iter().for_each(|line| text.extend(["  ", line, "\n"]));
    }
    let mut say = |line: &str| text.extend(["\n", line, "\n"]);
    let more = names(Change::More);
    if let Some(names) = &more {
        say(&format!(
            "{names}: more than {tolerated} more. Find out what does (`valgrind --tool=callgrind`, then `callgrind_annotate`). If \
             it is worth it, renew the baseline with `make bench-check UPDATE=1` and say in the commit what it buys"
        ));
    }
    if let Some(names) = names(Change::Less) {
        say(&format!(
            "{names}: more than {tolerated} less. Renew the baseline with `make bench-check UPDATE=1`, so that it stays like this"
        ));
    }
    Comparison {
        fails: other_rust || names(Change::New).is_some() || (more.is_some() && different.is_empty()),
        text,
    }
}

fn change(before: Option<u64>, now: Option<u64>) -> Change {
    match (before, now) {
        (_, None) => Change::NotCounted,
        (None, Some(_)) => Change::New,
        (Some(before), Some(now)) => {
            let tolerated = u128::from(before) * u128::from(TOLERATED);
            let difference = u128::from(before.abs_diff(now)) * 1000;
            if difference <= tolerated {
                Change::Within
            } else if now > before {
                Change::More
            } else {
                Change::Less
            }
        }
    }
}

fn percent((before, now): (u64, u64)) -> String {
    format!("{:+.1} %", (now as f64 / before as f64 - 1.0) * 100.0)
}

/// Writes a number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_with() -> MadeWith {
        MadeWith {
            rustc: "rustc 1.95.0".to_owned(),
            target: "x86_64-linux".to_owned(),
            cc: "cc 12.2.0".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
            processor: "avx avx2".to_owned(),
            reset: "page by page".to_owned(),
        }
    }

    fn compared(before: u64, now: Option<u64>, made_with_now: MadeWith) -> Comparison {
        let baseline = Baseline {
            made_with: made_with(),
            instructions: [(Thing::LockBatch.key().to_owned(), before)].into(),
        };
        let now = Counts {
            made_with: made_with_now,
            things: vec![(Thing::LockBatch, now)],
        };
        compare(&baseline, &now)
    }

    #[track_caller]
    fn check(before: u64, now: u64, fails: bool, says: &str) {
        let outcome = compared(before, Some(now), made_with());
        assert_eq!(outcome.fails, fails, "{}", outcome.text);
        assert!(outcome.text.contains(says), "{}", outcome.text);
    }

    #[test]
    fn more_than_five_percent_more_fails() {
        check(
            100_000,
            105_000,
            false,
            "lock-batch             100,000       105,000    +5.0 %\n",
        );
        check(100_000, 105_001, true, "lock-batch: more than 5 % more.");
    }

    #[test]
    fn more_than_five_percent_less_is_told() {
        check(100_000, 95_000, false, "-5.0 %\n");
        check(
            100_000,
            94_999,
            false,
            "lock-batch: more than 5 % less. Renew the baseline",
        );
    }

    #[test]
    fn as_before_needs_no_words() {
        let text = compared(1_234_567, Some(1_234_567), made_with()).text;
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("1,234,567"), "{text}");
    }

    #[test]
    fn another_version_of_rust_wants_another_baseline() {
        let newer = MadeWith {
            rustc: "rustc 1.96.0".to_owned(),
            ..made_with()
        };
        let outcome = compared(100, Some(100), newer);
        assert!(
            outcome.fails && outcome.text.contains("rustc 1.96.0"),
            "{}",
            outcome.text
        );
    }

    #[test]
    fn on_another_machine_a_difference_fails_nothing_and_is_shown() {
        let other = MadeWith {
            processor: "avx".to_owned(),
            ..made_with()
        };
        let outcome = compared(100, Some(200), other);
        assert!(!outcome.fails, "{}", outcome.text);
        for words in ["processor: avx; the baseline", "+100.0 %", "more than 5 % more"] {
            assert!(outcome.text.contains(words), "{}", outcome.text);
        }
    }

    #[test]
    fn what_has_no_baseline_fails_and_what_cannot_be_counted_does_not() {
        let without = Baseline {
            made_with: made_with(),
            instructions: [].into(),
        };
        let now = Counts {
            made_with: made_with(),
            things: vec![(Thing::SandboxCall, Some(7))],
        };
        assert!(compare(&without, &now).fails);
        let outcome = compared(100, None, made_with());
        assert!(
            !outcome.fails && outcome.text.contains("not counted"),
            "{}",
            outcome.text
        );
    }
}
