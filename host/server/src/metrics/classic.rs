//! The same in the text format of before OpenMetrics, version 0.0.4, for whoever does not ask for OpenMetrics: people with curl,
//! and `promtool check metrics`.
//!
//! The lines with values are the same. What is said of a counter has the name of its series, with `_total`; units and the end
//! are not said, and there are no exemplars.

/// The media type of it.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Tells whether a client that accepts this wants OpenMetrics.
pub fn wants_openmetrics(accept: &str) -> bool {
    accept.contains("application/openmetrics-text")
}

/// Writes what is in OpenMetrics in the format of before.
pub fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // The type comes behind the help.
    let mut help = None;
    for line in openmetrics.lines() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                text.push_str(&format!("# HELP {name}{total} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
            continue;
        }
        text.push_str(line.split_once(" # {").map_or(line, |(line, _)| line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_called_as_its_series_are() {
        let openmetrics = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                           a_seconds_total{x=\"y\"} 1\n# HELP b B.\n# TYPE b gauge\nb 2\n# EOF\n";
        let expect = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\na_seconds_total{x=\"y\"} 1\n\
                      # HELP b B.\n# TYPE b gauge\nb 2\n";
        assert_eq!(classic(openmetrics), expect);
    }
}
