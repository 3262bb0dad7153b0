//! Numbers and times as they are shown: in seven columns at most, whatever a host says.

/// Shown where there is no figure.
pub(super) const NONE: &str = "-";

/// A count.
pub(super) fn count(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..10_000_000 => format!("{}k", number / 1_000),
        10_000_000..10_000_000_000 => format!("{}M", number / 1_000_000),
        _ => ">9999M".to_owned(),
    }
}

/// How often in a second.
pub(super) fn rate(rate: f64) -> String {
    if rate < 0.05 {
        return "0".to_owned();
    }
    if rate < 1000.0 {
        return format!("{rate:.1}");
    }
    // What is beyond any number becomes the greatest.
    count(rate.round() as u64)
}

/// What a request took, if there was one.
pub(super) fn took(ms: Option<f64>) -> String {
    match ms {
        None => NONE.to_owned(),
        Some(ms) if ms < 10.0 => format!("{:.2}ms", ms.max(0.0)),
        Some(ms) if ms < 100.0 => format!("{ms:.1}ms"),
        Some(ms) if ms < 1000.0 => format!("{ms:.0}ms"),
        Some(ms) => age(ms as u64),
    }
}

/// How long ago, or for how long still.
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        86_400..86_400_000 => format!("{}d", seconds / 86_400),
        _ => ">999d".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_short() {
        assert_eq!(
            [0, 99_999, 123_456, u64::MAX].map(count),
            ["0", "99999", "123k", ">9999M"]
        );
        assert_eq!(
            [0.0, 0.1, 12.34, 12_600.4, f64::MAX].map(rate),
            ["0", "0.1", "12.3", "12600", ">9999M"]
        );
        assert_eq!(rate(f64::NAN), "0");
        let times = [
            None,
            Some(0.123),
            Some(12.34),
            Some(250.4),
            Some(1500.0),
            Some(f64::MAX),
        ]
        .map(took);
        assert_eq!(times, ["-", "0.12ms", "12.3ms", "250ms", "1.5s", ">999d"]);
        let ages = [900, 61_000, 3_700_000, 100_000_000, u64::MAX].map(age);
        assert_eq!(ages, ["0.9s", "1m01s", "1h01m", "1d", ">999d"]);
        for ms in [9.996, 99.96, 999.6, f64::MIN] {
            assert!(took(Some(ms)).len() <= 7, "{}", took(Some(ms)));
        }
    }
}
