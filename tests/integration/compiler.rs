//! The process that compiles a component.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends a process, also when the test fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The scheduling policy and the nice value of a process, as the kernel tells them.
fn scheduling(process: u32) -> (String, String) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let mut fields = after_name.split(' ');
    // The fields 19 and 41 of `man 5 proc_pid_stat`; the first here is 3.
    let nice = fields.nth(16).unwrap().to_owned();
    (fields.nth(21).unwrap().to_owned(), nice)
}

#[test]
fn it_runs_only_while_nothing_else_wants_to_if_it_is_told_so() {
    // SCHED_IDLE and SCHED_OTHER.
    for (idle, policy) in [("1", "5"), ("0", "0")] {
        let child = Command::new(env!("CARGO_BIN_EXE_namelock"))
            .args(["compile", "--memory", "4294967296", "--cpu-seconds", "5"])
            .args(["--memory-max", "67108864", "--idle", idle])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        // It waits for a component meanwhile.
        let child = Ended(child.unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let expected = (policy.to_owned(), "19".to_owned());
        while scheduling(child.0.id()) != expected {
            let found = scheduling(child.0.id());
            assert!(Instant::now() < deadline, "--idle {idle}: {found:?}");
        }
    }
}
