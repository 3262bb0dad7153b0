//! CPU time of processes, as the kernel counts it.

use std::time::Duration;

use anyhow::Context;

/// The unit of CPU time in `/proc`: `USER_HZ` is 100 on every architecture that the host runs on.
const TICK: Duration = Duration::from_millis(10);

/// How much CPU time a process has used so far, with all its threads, also those that have ended.
pub(crate) fn used(process: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(&stat)
}

fn parse(stat: &str) -> anyhow::Result<Duration> {
    // Its name, in parentheses, may have spaces; behind it, user and system time are the twelfth and thirteenth, in ticks.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let fields = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(TICK * u32::try_from(ticks)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 25 5 900 900 20 0 1 0 100 1000 10";
        assert_eq!(parse(stat).unwrap(), Duration::from_millis(300));
        assert!(parse("7 a S 1").is_err());
    }

    #[test]
    fn this_process_has_a_cpu_time() {
        used(std::process::id()).unwrap();
    }
}
