//! What a run was: figures as JSON, and a page with a timeline of faults and throughput.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::checker::Violation;
use crate::clients::{Answer, Call, HOT, Kind, hot};
use crate::fault::Fault;
use crate::history::Version;
use crate::nemesis::Record;
use crate::{Outcome, by_kind};

/// The figures of a run.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    pub seed: u64,
    pub calls: usize,
    /// How often each answer came, by kind of call.
    pub answers: BTreeMap<String, usize>,
    pub registered: usize,
    pub versions: usize,
    pub sections: usize,
    pub faults: BTreeMap<&'static str, usize>,
    /// The longest time in which nobody got a 201, while each kind of fault lasted and until all hosts served again.
    pub longest_without_service_ms: BTreeMap<&'static str, i64>,
    /// The same of each failover of PostgreSQL, the shortest first.
    pub without_service_by_failover_ms: Vec<i64>,
    /// The longest time from the end of a fault until every host had registered a name again.
    pub longest_until_all_serve_ms: BTreeMap<&'static str, i64>,
    /// The longest time, while each kind of fault lasted and until all hosts served again, in which a name that many
    /// want was not served, and which name.
    pub longest_without_a_name_ms: BTreeMap<&'static str, (i64, String)>,
    /// The longest time in which each of these names was not served, in the whole run.
    pub longest_by_name_ms: BTreeMap<String, i64>,
    /// The longest time from the end of any fault until each name was served at every host.
    pub longest_until_served_by_name_ms: BTreeMap<String, i64>,
    pub violations: &'a [Violation],
    /// How many violations each check has found.
    pub violations_by_check: BTreeMap<&'static str, usize>,
}

/// All that happened to the names of which a promise was broken.
#[derive(Serialize)]
struct Evidence<'a> {
    calls: Vec<&'a Call>,
    versions: Vec<&'a Version>,
}

impl<'a> Report<'a> {
    /// Sums up a run.
    pub fn of(seed: u64, outcome: &'a Outcome) -> Self {
        let history = &outcome.history;
        let mut answers = BTreeMap::new();
        for call in &history.calls {
            *answers.entry(format!("{:?} {}", call.kind, label(call))).or_default() += 1;
        }
        let mut served: Vec<_> = history
            .calls
            .iter()
            .filter(|call| is_201(call))
            .map(|call| call.end_us)
            .collect();
        served.sort_unstable();
        let mut without = BTreeMap::new();
        let mut until_all = BTreeMap::new();
        let mut failovers = Vec::new();
        for fault in &history.faults {
            let end = fault.served_us.unwrap_or(i64::MAX);
            let longest: &mut i64 = without.entry(fault.kind).or_default();
            let gap_ms = gap(&served, fault.begin_us, end) / 1000;
            *longest = (*longest).max(gap_ms);
            // What was not served yet, at the very beginning, was not interrupted.
            let was_served = served.first().is_some_and(|first| *first < fault.begin_us);
            if Fault::is_failover(fault.kind) && was_served {
                failovers.push(gap_ms);
            }
            let longest: &mut i64 = until_all.entry(fault.kind).or_default();
            *longest = (*longest).max((end - fault.end_us) / 1000);
        }
        failovers.sort_unstable();
        let names = served_by_name(&history.calls);
        let mut without_name: BTreeMap<_, (i64, String)> = BTreeMap::new();
        let mut until_served: BTreeMap<String, i64> = BTreeMap::new();
        for fault in &history.faults {
            let end = fault.served_us.unwrap_or(i64::MAX);
            let gaps = names
                .iter()
                .map(|(name, served)| (gap(served, fault.begin_us, end) / 1000, name.clone()));
            let longest = without_name.entry(fault.kind).or_default();
            *longest = gaps.fold(std::mem::take(longest), std::cmp::max);
            for (name, served_us) in &fault.by_name_us {
                let longest = until_served.entry(name.clone()).or_default();
                *longest = (*longest).max((served_us - fault.end_us) / 1000);
            }
        }
        let by_name = names
            .iter()
            .map(|(name, served)| (name.clone(), gap(served, i64::MIN, i64::MAX) / 1000));
        let mut by_check = BTreeMap::new();
        for violation in &outcome.violations {
            *by_check.entry(violation.check).or_default() += 1;
        }
        Self {
            violations_by_check: by_check,
            longest_by_name_ms: by_name.collect(),
            longest_without_a_name_ms: without_name,
            longest_until_served_by_name_ms: until_served,
            seed,
            calls: history.calls.len(),
            answers,
            registered: served.len(),
            versions: history.versions.len(),
            sections: history.sections.len(),
            faults: by_kind(&history.faults),
            longest_without_service_ms: without,
            without_service_by_failover_ms: failovers,
            longest_until_all_serve_ms: until_all,
            violations: &outcome.violations,
        }
    }

    /// Writes `report.json` and `report.html` into a folder, and `evidence.json` where a promise was broken.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn write(&self, outcome: &Outcome, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        fs::write(folder.join("report.html"), self.page(outcome))?;
        let name_of = |name: &str| {
            outcome
                .violations
                .iter()
                .any(|one| one.what.contains(&format!("{name:?}")))
        };
        let (calls, versions) = (&outcome.history.calls, &outcome.history.versions);
        let evidence = Evidence {
            calls: calls.iter().filter(|call| name_of(&call.name)).collect(),
            versions: versions.iter().filter(|version| name_of(&version.name)).collect(),
        };
        if !outcome.violations.is_empty() {
            fs::write(folder.join("evidence.json"), serde_json::to_vec_pretty(&evidence)?)?;
        }
        Ok(())
    }

    /// The figures, for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "seed {}: {} calls, {} times 201, {} versions of rows and {} critical sections checked, {} violations\n",
            self.seed,
            self.calls,
            self.registered,
            self.versions,
            self.sections,
            self.violations.len()
        );
        if !self.faults.is_empty() {
            self.write_faults(&mut text);
        }
        for (answer, times) in &self.answers {
            let _ = writeln!(text, "{answer:<36} {times:>9}");
        }
        for (check, times) in &self.violations_by_check {
            let of_it = self.violations.iter().filter(|violation| violation.check == *check);
            let _ = writeln!(text, "VIOLATION {check}, {times} times");
            for violation in of_it.take(5) {
                let _ = writeln!(text, "    {}", violation.what);
            }
        }
        text
    }

    /// What came of the faults, for each kind and each name.
    fn write_faults(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "{:<36} {:>5} {:>16} {:>18} {:>22}",
            "fault", "times", "without 201", "until all serve", "without a name"
        );
        for (kind, times) in &self.faults {
            let (without, until) = (
                self.longest_without_service_ms[kind],
                self.longest_until_all_serve_ms[kind],
            );
            let (longest, name) = &self.longest_without_a_name_ms[kind];
            let _ = writeln!(
                text,
                "{kind:<36} {times:>5} {without:>13} ms {until:>15} ms {longest:>10} ms ({name})"
            );
        }
        let failovers = &self.without_service_by_failover_ms;
        if let (Some(median), Some(longest)) = (failovers.get(failovers.len() / 2), failovers.last()) {
            let _ = writeln!(
                text,
                "{} failovers, without 201 for {median} ms in the median, {longest} ms at most",
                failovers.len()
            );
        }
        let _ = writeln!(
            text,
            "{:<36} {:>18} {:>26}",
            "name", "without service", "until served after faults"
        );
        for (name, until) in &self.longest_until_served_by_name_ms {
            let without = self.longest_by_name_ms.get(name);
            let without = without.map(|ms| format!("{ms} ms")).unwrap_or_default();
            let _ = writeln!(text, "{name:<36} {without:>18} {until:>23} ms");
        }
    }

    fn page(&self, outcome: &Outcome) -> String {
        format!(
            "<!doctype html><meta charset=utf-8><title>chaos {}</title>\
             <style>body{{font:14px system-ui;margin:2em;max-width:1200px}}pre{{background:#f6f6f6;padding:1em;overflow:auto}}</style>\
             <h1>Chaos, seed {}</h1><p>{}</p>{}<pre>{}</pre>",
            self.seed,
            self.seed,
            if self.violations.is_empty() {
                "Nothing was violated."
            } else {
                "<b>VIOLATED</b>"
            },
            timeline(&outcome.history.calls, &outcome.history.faults),
            escape(&self.text())
        )
    }
}

fn is_201(call: &Call) -> bool {
    call.kind == Kind::Register && matches!(call.answer, Answer::Registration { .. })
}

/// When each of the names was served that many want: the lock was granted, and the database answered.
fn served_by_name(calls: &[Call]) -> BTreeMap<String, Vec<i64>> {
    let mut names: BTreeMap<String, Vec<i64>> = (0..HOT).map(|number| (hot(number), Vec::new())).collect();
    for call in calls.iter().filter(|call| call.kind != Kind::Find) {
        let served = match &call.answer {
            Answer::Registration { .. } | Answer::Freed => true,
            Answer::Problem { code, .. } => matches!(code.as_str(), "name_taken" | "forbidden"),
            Answer::Unknown(_) => false,
        };
        if let Some(times) = names.get_mut(&call.name).filter(|_| served) {
            times.push(call.end_us);
        }
    }
    for times in names.values_mut() {
        times.sort_unstable();
    }
    names
}

fn label(call: &Call) -> String {
    match &call.answer {
        Answer::Registration { .. } => if call.kind == Kind::Register { "201" } else { "200" }.to_owned(),
        Answer::Freed => "204".to_owned(),
        Answer::Problem { status, code } => format!("{status} {code}"),
        Answer::Unknown(_) => "unknown".to_owned(),
    }
}

/// The longest time between two of these instants, that touches the time from `begin` to `end`.
fn gap(instants: &[i64], begin: i64, end: i64) -> i64 {
    let touches = |pair: &&[i64]| pair[1] > begin && pair[0] < end;
    let gaps = instants.windows(2).filter(touches).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

/// Where the timeline has what, in the units of its view box.
const LEFT: f64 = 180.0;
const WIDTH: f64 = 1000.0;
const TOP: f64 = 30.0;
const HEIGHT: f64 = 180.0;
const LANE: f64 = 15.0;

/// What a column of the timeline is made of, from below.
const ANSWERS: [(&str, &str); 3] = [
    ("#3a7d44", "as wished, or refused by the handler"),
    ("#e0a030", "refused by the host"),
    ("#c03030", "unknown"),
];
const FAULT: (&str, &str) = ("#803090", "a fault");
const AFTER: (&str, &str) = ("#c9a3d2", "until every host served again");

/// Answers a second above, faults below, over one axis of time.
fn timeline(calls: &[Call], faults: &[Record]) -> String {
    let (Some(begin), Some(end)) = (
        calls.iter().map(|call| call.begin_us).min(),
        calls.iter().map(|call| call.end_us).max(),
    ) else {
        return String::new();
    };
    let seconds = usize::try_from((end - begin) / 1_000_000 + 1).unwrap_or(1);
    let counts = answers_a_second(calls, begin, seconds);
    let most = counts.iter().map(|count| count.iter().sum()).max().unwrap_or(1).max(1);
    let x = |us: i64| LEFT + ((us - begin) as f64 / 1e6 / seconds as f64).clamp(0.0, 1.0) * WIDTH;
    let floor = TOP + HEIGHT;
    let kinds = by_kind(faults);
    let height = floor + 24.0 + kinds.len() as f64 * LANE;
    let mut svg = format!(
        "<svg viewBox='0 0 {} {height}' width='100%' font-family='system-ui' font-size='11'>",
        LEFT + WIDTH + 10.0
    );
    let mut left = LEFT;
    for (colour, meaning) in ANSWERS.iter().chain([&FAULT, &AFTER]) {
        rect(&mut svg, (left, 6.0), (10.0, 10.0), colour, "");
        text(&mut svg, (left + 14.0, 15.0), "start", meaning);
        left += 30.0 + meaning.len() as f64 * 5.6;
    }
    text(&mut svg, (LEFT - 6.0, TOP + 9.0), "end", &format!("{most} answers/s"));
    text(&mut svg, (LEFT - 6.0, floor), "end", "0");
    let column = WIDTH / seconds as f64;
    for (second, count) in counts.iter().enumerate() {
        let mut top = floor;
        for ((colour, _), count) in ANSWERS.iter().zip(count) {
            let bar = *count as f64 / most as f64 * HEIGHT;
            top -= bar;
            rect(
                &mut svg,
                (LEFT + second as f64 * column, top),
                (column, bar),
                colour,
                "",
            );
        }
    }
    for second in (0..=seconds).step_by(if seconds > 120 { 30 } else { 10 }) {
        let left = LEFT + second as f64 * column;
        rect(&mut svg, (left, floor), (1.0, height - floor - 12.0), "#ddd", "");
        text(&mut svg, (left, height - 2.0), "middle", &format!("{second} s"));
    }
    for (lane, kind) in kinds.keys().enumerate() {
        let top = floor + 4.0 + lane as f64 * LANE;
        text(&mut svg, (LEFT - 6.0, top + 9.0), "end", kind);
        for fault in faults.iter().filter(|fault| fault.kind == *kind) {
            let (left, right) = (x(fault.begin_us), x(fault.end_us));
            let back = x(fault.served_us.unwrap_or(fault.end_us));
            rect(
                &mut svg,
                (left, top),
                ((right - left).max(2.0), 10.0),
                FAULT.0,
                &fault.what,
            );
            rect(
                &mut svg,
                (right, top),
                ((back - right).max(0.0), 10.0),
                AFTER.0,
                &fault.what,
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// How many answers of each kind in [`ANSWERS`] came in each second.
fn answers_a_second(calls: &[Call], begin: i64, seconds: usize) -> Vec<[usize; 3]> {
    let mut counts = vec![[0; 3]; seconds];
    for call in calls {
        let second = usize::try_from((call.end_us - begin) / 1_000_000).unwrap_or_default();
        let column = match &call.answer {
            Answer::Unknown(_) => 2,
            Answer::Problem { status, .. } if *status >= 429 => 1,
            _ => 0,
        };
        counts[second.min(seconds - 1)][column] += 1;
    }
    counts
}

fn rect(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str, title: &str) {
    let _ = write!(
        svg,
        "<rect x='{x:.1}' y='{y:.1}' width='{width:.2}' height='{height:.1}' fill='{colour}'><title>{}</title></rect>",
        escape(title)
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = write!(
        svg,
        "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' fill='#333'>{}</text>",
        escape(text)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_the_longest_one_that_touches_the_fault() {
        let instants = [0, 10, 100, 110, 500];
        assert_eq!(gap(&instants, 20, 30), 90);
        assert_eq!(gap(&instants, 105, 120), 390);
        assert_eq!(gap(&instants, 0, 5), 10);
    }
}
