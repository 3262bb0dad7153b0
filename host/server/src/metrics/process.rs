//! What the kernel says of this process, under the names that Prometheus' own libraries use.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::write::{About, Labels, Writer};

/// The kernel counts in hundredths of a second, for every program (`USER_HZ`, proc_pid_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Where the fields of `/proc/self/stat` are, counted from the one behind the name, which is the third (proc_pid_stat(5)).
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
const THREADS: usize = 17;
const RESIDENT_PAGES: usize = 21;

/// This process.
#[derive(Debug)]
pub(super) struct Process;

/// What is read of it.
struct Figures {
    cpu_seconds: f64,
    resident_bytes: usize,
    threads: usize,
    open_files: usize,
}

impl Figures {
    /// None where the kernel does not tell.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name may have blanks and parentheses.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let field = |at: usize| fields.get(at)?.parse::<usize>().ok();
        Some(Self {
            cpu_seconds: (field(USER_TIME)? + field(SYSTEM_TIME)?) as f64 / TICKS_PER_SECOND,
            resident_bytes: field(RESIDENT_PAGES)? * rustix::param::page_size(),
            threads: field(THREADS)?,
            open_files: fs::read_dir("/proc/self/fd").ok()?.count(),
        })
    }
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(figures) = Figures::read() else {
            return Ok(());
        };
        let mut writer = Writer(encoder);
        let about = About::seconds("process_cpu", "Time for which this process ran.");
        writer.counter(about, [(Labels::new(), figures.cpu_seconds)])?;
        let about = About::bytes("process_resident_memory", "Memory that this process has.");
        writer.level(about, figures.resident_bytes)?;
        writer.level(
            About::count("process_threads", "Threads of this process."),
            figures.threads,
        )?;
        writer.level(
            About::count("process_open_fds", "Files that this process has open."),
            figures.open_files,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let figures = Figures::read().unwrap();
        assert!(figures.cpu_seconds >= 0.0 && figures.threads >= 1 && figures.open_files >= 3);
        let text = fs::read_to_string("/proc/self/status").unwrap();
        let resident = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident: usize = resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024;
        // It may have changed between the two, and the kernel counts it in batches.
        assert!(figures.resident_bytes > resident / 2 && figures.resident_bytes < resident * 2);
    }
}
