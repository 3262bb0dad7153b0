//! CPU time of processes and of the machine, as the kernel counts it.

use std::time::Duration;

use anyhow::Context;

/// The unit of CPU time in `/proc`: `USER_HZ` is 100 on every architecture that the host runs on.
const TICK: Duration = Duration::from_millis(10);

/// How much CPU time a process has used so far, with all its threads, also those that have ended.
pub(crate) fn used(process: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    sum(&stat, OWN)
}

/// The same with all processes that it has started, and those that they have, as far as they are there or have been
/// waited for.
pub(crate) fn used_with_children(process: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let mut used = sum(&stat, OWN_AND_WAITED_FOR)?;
    for child in children(process) {
        // It may end at any time; what it has used is then its parent's.
        used += used_with_children(child).unwrap_or_default();
    }
    Ok(used)
}

/// The children of all threads of a process.
fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let of_thread = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children"));
    let all: Vec<_> = threads.filter_map(|thread| of_thread(thread).ok()).collect();
    let ids = all.iter().flat_map(|children| children.split_whitespace());
    ids.filter_map(|id| id.parse().ok()).collect()
}

/// How much CPU time the processors of this machine have spent since it was started, on whatever it was; what the hypervisor
/// gave to other machines belongs to it.
pub(crate) fn used_by_all() -> anyhow::Result<Duration> {
    parse_all(&std::fs::read_to_string("/proc/stat")?)
}

fn parse_all(stat: &str) -> anyhow::Result<Duration> {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let fields: Result<Vec<u64>, _> = line
        .context("no cpu in /proc/stat")?
        .split_whitespace()
        .map(str::parse)
        .collect();
    let fields = fields?;
    let of = |field: usize| fields.get(field).copied().unwrap_or_default();
    let (user, nice, system, interrupts, soft_interrupts, stolen) = (of(0), of(1), of(2), of(5), of(6), of(7));
    let ticks = user + nice + system + interrupts + soft_interrupts + stolen;
    Ok(TICK.mul_f64(ticks as f64))
}

/// How many times of `/proc/PID/stat` there are of the process itself, and with those of its children that have ended:
/// first user and system time of its own, then theirs.
const OWN: usize = 2;
const OWN_AND_WAITED_FOR: usize = 4;

fn sum(stat: &str, times: usize) -> anyhow::Result<Duration> {
    // Its name, in parentheses, may have spaces; behind it, the times begin with the twelfth field, in ticks.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let fields = fields.split_whitespace().skip(11).take(times);
    let ticks: u64 = fields.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(TICK * u32::try_from(ticks)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 25 5 900 900 20 0 1 0 100 1000 10";
        assert_eq!(sum(stat, OWN).unwrap(), Duration::from_millis(300));
        assert_eq!(sum(stat, OWN_AND_WAITED_FOR).unwrap(), Duration::from_millis(18_300));
        assert!(sum("7 a S 1", OWN).is_err());
    }

    #[test]
    fn what_a_child_uses_is_found_while_it_runs_and_after_it_was_waited_for() {
        let spin = "ulimit -t 5; while :; do :; done";
        let mut child = std::process::Command::new("sh").args(["-c", spin]).spawn().unwrap();
        let of_this_test = || {
            let own = used(std::process::id()).unwrap();
            used_with_children(std::process::id()).unwrap() - own
        };
        let enough = Duration::from_millis(50);
        while used(child.id()).unwrap() < enough {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(of_this_test() >= enough);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_this_test() >= enough);
    }

    #[test]
    fn the_time_of_all_is_what_is_neither_idle_nor_waiting() {
        let stat = "cpu  100 20 30 9999 50 60 70 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(parse_all(stat).unwrap(), Duration::from_millis(2880));
        assert!(parse_all("intr 1\n").is_err());
    }

    #[test]
    fn this_process_has_used_less_than_all() {
        assert!(used(std::process::id()).unwrap() <= used_by_all().unwrap());
    }
}
