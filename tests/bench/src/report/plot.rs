//! The picture of a row: throughput, p50 and p99 over the number of callers, or of what else the row counts, with a line for
//! each peer.

use super::svg::{Chart, Line, Panel};
use super::{Measurement, Round, Row};

/// Whether there is anything to see: a peer at more than one size.
pub(super) fn is_worth_drawing(row: &Row) -> bool {
    peers(row).into_iter().any(|peer| of_peer(row, peer).count() > 1)
}

/// Draws a row as SVG.
pub(super) fn draw(row: &Row) -> String {
    let chart = Chart {
        title: row.title.clone(),
        lines: peers(row).into_iter().map(str::to_owned).collect(),
        panels: vec![
            panel(row, &format!("{}/s", row.operations), |round| round.per_second, rate),
            panel(row, "p50", |round| round.p50_us, time),
            panel(row, "p99", |round| round.p99_us, time),
        ],
        x_label: row.sizes.clone(),
        x_marks: sizes(row),
    };
    chart.draw()
}

fn panel(row: &Row, title: &str, figure: fn(&Round) -> f64, mark: fn(f64) -> String) -> Panel {
    let point = |measurement: &Measurement| Some((measurement.size as f64, measurement.median(figure)?));
    let line = |peer: &str| {
        let mut points: Vec<_> = of_peer(row, peer).filter_map(point).filter(is_drawable).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line(points)
    };
    Panel {
        title: title.to_owned(),
        mark,
        lines: peers(row).into_iter().map(line).collect(),
    }
}

/// A logarithmic scale has no zero.
fn is_drawable((x, y): &(f64, f64)) -> bool {
    *x > 0.0 && *y > 0.0 && y.is_finite()
}

/// All peers, in the order in which they were measured.
fn peers(row: &Row) -> Vec<&str> {
    let mut peers: Vec<&str> = Vec::new();
    for measurement in &row.measurements {
        if !peers.contains(&measurement.peer.as_str()) {
            peers.push(&measurement.peer);
        }
    }
    peers
}

fn of_peer<'a>(row: &'a Row, peer: &'a str) -> impl Iterator<Item = &'a Measurement> {
    row.measurements
        .iter()
        .filter(move |measurement| measurement.peer == peer)
}

fn sizes(row: &Row) -> Vec<usize> {
    let mut sizes: Vec<_> = row.measurements.iter().map(|measurement| measurement.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// A rate with the prefix that makes it short.
fn rate(per_second: f64) -> String {
    match per_second {
        ..1e3 => format!("{per_second}"),
        ..1e6 => format!("{} k", per_second / 1e3),
        _ => format!("{} M", per_second / 1e6),
    }
}

/// A time in the unit that makes it short.
fn time(us: f64) -> String {
    match us {
        ..1e3 => format!("{us} µs"),
        ..1e6 => format!("{} ms", us / 1e3),
        _ => format!("{} s", us / 1e6),
    }
}
