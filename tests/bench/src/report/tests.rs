use std::collections::BTreeMap;
use std::time::Duration;

use super::target::Verdict;
use super::*;

fn round(per_second: f64) -> Round {
    Round {
        per_second,
        p50_us: 640.0,
        p99_us: 2_000.0,
        cpu_seconds_per_1000: BTreeMap::from([("bench".to_owned(), 0.0125)]),
        also: BTreeMap::new(),
        others: 0.03,
    }
}

fn measurement(peer: &str, size: usize, rates: &[f64]) -> Measurement {
    Measurement {
        peer: peer.to_owned(),
        size,
        rounds: rates.iter().copied().map(round).collect(),
    }
}

fn report() -> Report {
    let mut report = Report {
        environment: Environment {
            date: "2026-01-31 12:00".to_owned(),
            kernel: "Linux 6.1".to_owned(),
            cpu: "a processor".to_owned(),
            cpus: 2,
            profile: "release".to_owned(),
            commit: "0123456789ab".to_owned(),
            versions: BTreeMap::from([("memcached".to_owned(), "1.6.18".to_owned())]),
        },
        pace: Pace::QUICK,
        rows: Vec::new(),
    };
    let row = report.row("lock", "Lock alone", "lock cycles");
    row.measurements = vec![
        measurement("namelock", 1, &[9_000.0]),
        measurement("namelock", 64, &[100_000.0, 120_000.0, 90_000.0]),
        measurement("Redis & <others>", 64, &[40_000.0, 50_000.0, 60_000.0]),
        // What a logarithmic scale has no place for.
        measurement("idle", 8, &[0.0]),
    ];
    row.missing("pymemcache", "make setup-pymemcache");
    let (ours, theirs) = (("namelock", 64), ("Redis & <others>", 64));
    let ratio = row.ratio(ours, &[theirs]);
    row.targets
        .push(Target::at_least("64 callers: namelock / Redis", 1.5, ratio));
    row.at_rates.push(AtRate {
        due_per_second: 50_000.0,
        measurement: measurement("namelock", 256, &[49_000.0, 50_000.0]),
    });
    row.notes.push("All was in memory.".to_owned());
    let ratio = row.ratio(ours, &[("pymemcache", 1)]);
    row.targets
        .push(Target::at_least("64 callers: namelock / pymemcache", 4.0, ratio));
    report
}

#[test]
fn a_median_is_the_middle_one_or_the_mean_of_the_two_in_the_middle() {
    assert_eq!(median(vec![]), None);
    assert_eq!(median(vec![3.0]), Some(3.0));
    assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
}

#[test]
fn a_ratio_is_of_medians_and_against_the_best_that_was_measured() {
    let mut report = report();
    let row = &mut report.rows[0];
    row.measurements.push(measurement("slow", 2, &[5_000.0]));
    let ours = ("namelock", 64);
    assert_eq!(row.ratio(ours, &[("Redis & <others>", 64)]), Some(2.0));
    assert_eq!(
        row.ratio(ours, &[("slow", 2), ("Redis & <others>", 64), ("absent", 1)]),
        Some(2.0)
    );
    assert_eq!(row.ratio(ours, &[("absent", 1)]), None);
    assert_eq!(row.ratio(("namelock", 2), &[("slow", 2)]), None);
}

#[test]
fn a_ratio_of_cpu_is_of_medians_of_a_process_that_works_for_both() {
    let mut report = report();
    let row = &mut report.rows[0];
    let mut costly = measurement("costly", 64, &[1_000.0, 1_000.0, 1_000.0]);
    for (round, seconds) in costly.rounds.iter_mut().zip([0.025, 0.5, 0.01]) {
        round.cpu_seconds_per_1000.insert("bench".to_owned(), seconds);
    }
    costly.rounds[0].cpu_seconds_per_1000.insert("server".to_owned(), 1.0);
    row.measurements.push(costly);
    let (ours, other) = (("costly", 64), ("namelock", 64));
    assert_eq!(row.cpu_ratio("bench", ours, other), Some(2.0));
    assert_eq!(row.cpu_ratio("server", ours, ours), None, "not in all rounds");
    assert_eq!(row.cpu_ratio("bench", ours, ("absent", 64)), None);
}

#[test]
fn a_target_is_met_at_its_bound_and_missed_by_a_hair() {
    let at_least = |measured| Target::at_least("", 1.5, measured).verdict();
    assert_eq!(at_least(Some(1.5)), Verdict::Met);
    assert_eq!(at_least(Some(1.499_999)), Verdict::Missed);
    assert_eq!(at_least(Some(f64::NAN)), Verdict::Missed);
    assert_eq!(at_least(None), Verdict::NotMeasured);
    let at_most = |measured| Target::at_most("", 60.0, measured).verdict();
    assert_eq!(at_most(Some(60.0)), Verdict::Met);
    assert_eq!(at_most(Some(60.1)), Verdict::Missed);
    assert_eq!(at_most(Some(f64::NAN)), Verdict::Missed);
}

#[test]
fn a_round_tells_throughput_quantiles_and_cpu() {
    let mut work = Work::new(
        (1..=100).map(Duration::from_micros).collect(),
        Duration::from_millis(10),
    );
    work.also.insert("refused/s", 7.5);
    let used = BTreeMap::from([("memcached", Duration::from_millis(20))]);
    let round = Round::of(&work, &used, 0.25).unwrap();
    let near = |figure: f64, expected: f64| (figure / expected - 1.0).abs() < 0.01;
    assert!(near(round.per_second, 10_000.0), "{round:?}");
    assert!(near(round.p50_us, 50.0) && near(round.p99_us, 99.0), "{round:?}");
    assert!(near(round.cpu_seconds_per_1000["memcached"], 0.2), "{round:?}");
    assert_eq!(round.also, BTreeMap::from([("refused/s".to_owned(), 7.5)]));
    let nothing = Work::new(Vec::new(), Duration::from_millis(10));
    assert!(Round::of(&nothing, &used, 0.0).is_err(), "JSON has no word for 0 / 0");
}

#[test]
fn a_report_is_the_same_after_json() {
    let report = report();
    let json = serde_json::to_string_pretty(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn a_section_has_targets_figures_and_what_is_missing() {
    let report = report();
    let section = markdown::section(&report.rows[0], &report.environment, Some("a.svg"));
    for expected in [
        "Measured 2026-01-31 12:00 UTC on 2 × a processor, Linux 6.1, at commit 0123456789ab (release build); medians of 3 rounds of 500ms.",
        "| 64 callers: namelock / Redis | ≥ 1.5 | 2.00 | met |",
        "| 64 callers: namelock / pymemcache | ≥ 4 | – | not measured |",
        "](a.svg)",
        "Other programs had 3 % of the processors between the rounds.",
        "| namelock | 64 | 100,000 | 90,000 to 120,000 | 0.64 ms | 2.00 ms | 0.0125 |",
        "| client | asked for each second | done each second |",
        "| namelock | 50,000 | 49,500 | 49,000 to 50,000 | 0.64 ms | 2.00 ms | 0.0125 |",
        "\n\nAll was in memory.",
        "pymemcache was not measured: it is not installed. `make setup-pymemcache` installs it.",
    ] {
        assert!(section.contains(expected), "{expected}\n\nis not in\n\n{section}");
    }
}

#[test]
fn a_row_may_count_other_things_than_callers_and_have_columns_of_its_own() {
    let mut report = report();
    let row = report.row("growth", "Growth", "registrations");
    row.sizes = "how many".to_owned();
    row.pace = Pace::FULL;
    let mut tenants = measurement("tenants", 5_000, &[7_000.0, 7_200.0, 7_100.0]);
    for (round, [start, memory]) in tenants
        .rounds
        .iter_mut()
        .zip([[0.5, 1_300.0], [0.25, 1_400.0], [0.75, 1_350.0]])
    {
        round
            .also
            .extend([("start, s".to_owned(), start), ("MiB".to_owned(), memory)]);
    }
    assert_eq!(tenants.also("start, s"), Some(0.5));
    assert_eq!(tenants.also("absent"), None);
    row.measurements = vec![measurement("names", 10_000, &[7_000.0]), tenants];
    let section = markdown::section(&report.rows[1], &report.environment, None);
    for expected in [
        "medians of 7 rounds of 1s.",
        "| client | how many | registrations/s | lowest to highest | p50 | p99 | MiB | start, s | CPU of bench |",
        "| names | 10,000 | 7,000 | 7,000 to 7,000 | 0.64 ms | 2.00 ms | – | – | 0.0125 |",
        "| tenants | 5,000 | 7,100 | 7,000 to 7,200 | 0.64 ms | 2.00 ms | 1,350 | 0.50 | 0.0125 |",
    ] {
        assert!(section.contains(expected), "{expected}\n\nis not in\n\n{section}");
    }
    assert!(!section.contains("!["), "{section}");
}

#[test]
fn a_picture_is_drawn_of_what_was_measured_at_several_sizes() {
    let mut report = report();
    assert!(plot::is_worth_drawing(&report.rows[0]));
    let row = report.row("contention", "Contention", "grants");
    row.measurements = vec![
        measurement("one host", 64, &[1.0]),
        measurement("two hosts", 64, &[1.0]),
    ];
    assert!(!plot::is_worth_drawing(row));
}

#[test]
fn a_section_says_when_the_machine_was_busy() {
    let mut report = report();
    for round in report.rows[0]
        .measurements
        .iter_mut()
        .flat_map(|measurement| &mut measurement.rounds)
    {
        round.others = 0.2;
    }
    let section = markdown::section(&report.rows[0], &report.environment, Some("a.svg"));
    assert!(
        section.contains("20 % of the processors between the rounds. **The machine was busy"),
        "{section}"
    );
}

#[test]
fn a_picture_is_well_formed_and_has_a_line_for_each_peer() {
    let svg = plot::draw(&report().rows[0]);
    let document = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<_> = document.descendants().filter_map(|node| node.text()).collect();
    for expected in ["namelock", "Redis & <others>", "idle", "1", "8", "64", "p99", "callers"] {
        assert!(texts.contains(&expected), "{expected} is not in {texts:?}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn an_empty_row_has_a_picture_too() {
    let mut report = report();
    let svg = plot::draw(report.row("empty", "Nothing", "nothings"));
    roxmltree::Document::parse(&svg).unwrap();
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}
