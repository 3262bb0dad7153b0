//! What valgrind's `callgrind` is told, and what it has written.
//!
//! It counts the instructions of all threads, but not those of the kernel. At each [boundary](crate::round) it writes what it has
//! counted since the last one to a file of its own, `counts.1`, `counts.2` and so on, and at the end of the process to `counts`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::round::{self, BOUNDARY};

/// The name of the files, without the number.
const COUNTS: &str = "counts";

/// The line that says how many instructions there were.
const TOTALS: &str = "totals: ";

/// The flags of valgrind for a process whose counts are written to `folder`.
pub fn flags(folder: &Path) -> Vec<OsString> {
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(folder.join(COUNTS));
    let dump = format!("--dump-before={BOUNDARY}");
    vec!["--quiet".into(), "--tool=callgrind".into(), out, dump.into()]
}

/// Returns the instructions of each round that counts, in their order.
///
/// # Errors
///
/// A file is not there, or does not say how many there were.
pub fn rounds(folder: &Path) -> io::Result<Vec<u64>> {
    // The first file has what was before the first round, the second one the first round, the third one what was between.
    let of = |round: usize| {
        let path = folder.join(format!("{COUNTS}.{}", 2 * round + 2));
        let told = File::open(&path).and_then(|file| total(BufReader::new(file)));
        told.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    (round::WARM_UP..round::ALL).map(of).collect()
}

fn total(file: impl BufRead) -> io::Result<u64> {
    for line in file.lines() {
        if let Some(total) = line?.strip_prefix(TOTALS) {
            return total.trim().parse().map_err(io::Error::other);
        }
    }
    Err(io::Error::other("no line says how many instructions there were"))
}

/// Returns the mean of the middle half of them; none if there are none. So what happens now and then does not count: a table
/// that grows, a file that is written back.
pub fn typical(rounds: &[u64]) -> Option<u64> {
    let mut sorted = rounds.to_vec();
    sorted.sort_unstable();
    let quarter = sorted.len() / 4;
    let middle = &sorted[quarter..sorted.len() - quarter];
    middle.iter().sum::<u64>().checked_div(middle.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(total: u64) -> String {
        format!("# callgrind format\nversion: 1\nevents: Ir\n\nfn=(1) main\n16 400\n\ntotals: {total}\n")
    }

    #[test]
    fn the_files_of_the_rounds_that_count_are_read_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=2 * round::ALL + 1 {
            fs::write(folder.path().join(format!("counts.{number}")), file(number as u64)).unwrap();
        }
        let rounds = rounds(folder.path()).unwrap();
        assert_eq!(rounds.len(), round::COUNTED);
        assert_eq!(rounds[..3], [8, 10, 12]);
    }

    #[test]
    fn a_process_that_ended_before_its_last_round_has_no_count() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..2 * round::ALL {
            fs::write(folder.path().join(format!("counts.{number}")), file(1)).unwrap();
        }
        let error = rounds(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("counts.{}: ", 2 * round::ALL)), "{error}");
    }

    #[test]
    fn a_file_without_a_total_is_no_count_of_zero() {
        let read = |text: &str| total(text.as_bytes()).ok();
        assert_eq!(read(&file(653_390)), Some(653_390));
        for text in ["", "fn=(1) main\n16 400\n", "totals: many\n", "totals: \n"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_round_in_which_something_else_happened_does_not_count() {
        assert_eq!(typical(&[653, 1_250, 655, 657, 652]), Some(655));
        assert_eq!(typical(&[7]), Some(7));
        assert_eq!(typical(&[]), None);
    }
}
