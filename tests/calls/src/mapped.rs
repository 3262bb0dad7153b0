//! How much memory this process has for itself, and how much of it is that of guests, from what the kernel says.
//!
//! The memory of a guest begins as a private mapping of an image, which is a part of the file of the compiled component or one of
//! wasmtime's own, and goes on as anonymous memory around it. The next guest's is a gap away, in which nothing may be read or
//! written. So what can be written without a gap around an image is the memory of a guest. One without data has no image; it
//! counts as the host's.

use anyhow::Context;

/// What a memory image of wasmtime is called that is no part of a file.
const IMAGE: &str = "/memfd:wasm-memory-image";

/// The pages that are resident and no page of a file, in KiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// All of them, and the tables of pages.
    pub all_kib: f64,
    /// Those of guests.
    pub guests_kib: f64,
}

/// A range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping<'a> {
    from: u64,
    to: u64,
    /// Private, and nothing but read and written.
    is_data: bool,
    path: &'a str,
    anonymous_kib: u64,
}

/// Reads it from what `/proc/PID/status` and `/proc/PID/smaps` say. Compiled components are in the folder `compiled`.
///
/// # Errors
///
/// Something is missing there.
pub fn memory(status: &str, smaps: &str, compiled: &str) -> anyhow::Result<Memory> {
    let of = |key: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(key));
        kib(value.with_context(|| format!("no {key} in /proc/PID/status"))?)
    };
    let all = of("RssAnon:")? + of("VmPTE:")?;
    Ok(Memory {
        all_kib: all as f64,
        guests_kib: of_guests(&mappings(smaps)?, compiled) as f64,
    })
}

fn of_guests(mappings: &[Mapping<'_>], compiled: &str) -> u64 {
    let is_image = |path: &str| path.starts_with(IMAGE) || path.starts_with(compiled);
    let without_gap = |a: &Mapping<'_>, b: &Mapping<'_>| a.is_data && b.is_data && a.to == b.from;
    let runs = mappings.chunk_by(without_gap);
    let has_image = |run: &&[Mapping<'_>]| run.iter().any(|mapping| mapping.is_data && is_image(mapping.path));
    runs.filter(has_image)
        .flatten()
        .map(|mapping| mapping.anonymous_kib)
        .sum()
}

fn mappings(smaps: &str) -> anyhow::Result<Vec<Mapping<'_>>> {
    let mut all: Vec<Mapping<'_>> = Vec::new();
    for line in smaps.lines() {
        if let Some(mapping) = head(line) {
            all.push(mapping);
        } else if let Some(value) = line.strip_prefix("Anonymous:") {
            all.last_mut()
                .context("/proc/PID/smaps begins in its middle")?
                .anonymous_kib = kib(value)?;
        }
    }
    Ok(all)
}

/// The first line of a mapping: `FROM-TO rw-p OFFSET DEVICE INODE   PATH`.
fn head(line: &str) -> Option<Mapping<'_>> {
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let mut fields = rest.splitn(5, ' ');
    let is_data = fields.next()? == "rw-p";
    Some(Mapping {
        from: address(from)?,
        to: address(to)?,
        is_data,
        path: fields.nth(3).unwrap_or_default().trim(),
        anonymous_kib: 0,
    })
}

fn kib(value: &str) -> anyhow::Result<u64> {
    let number = value.trim().strip_suffix("kB").context("it is not in kB")?;
    Ok(number.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tcalls\nVmPTE:\t     100 kB\nVmRSS:\t    9000 kB\nRssAnon:\t    2000 kB\nRssFile:\t    7000 kB\n";

    #[test]
    fn the_memory_of_a_guest_is_what_is_written_without_a_gap_around_its_image() {
        let smaps = "\
7f0000000000-7f0000010000 rw-p 00000000 00:00 0 
Size:                 64 kB
Rss:                   8 kB
Anonymous:             8 kB
VmFlags: rd wr mr mw me ac
7f0000010000-7f0000020000 rw-p 00004000 fe:00 77                         /folder/cache/0a.cwasm
Rss:                  40 kB
Anonymous:            16 kB
7f0000020000-7f0004000000 ---p 00000000 00:00 0 
Anonymous:             0 kB
7f0004000000-7f0004010000 rw-p 00000000 00:01 9                          /memfd:wasm-memory-image (deleted)
Anonymous:             4 kB
7f0004010000-7f0004020000 rw-p 00000000 00:00 0 
Anonymous:            32 kB
7f0004020000-7f0008000000 ---p 00000000 00:00 0 
Anonymous:             0 kB
7f0009000000-7f0009010000 r-xp 00000000 fe:00 77                         /folder/cache/0a.cwasm
Anonymous:             0 kB
7f0009010000-7f0009020000 rw-p 00000000 00:00 0 
Anonymous:           512 kB
7f000a000000-7f000a010000 rw-p 00000000 fe:00 3                          /usr/lib/libc.so.6
Anonymous:           128 kB
";
        let memory = memory(STATUS, smaps, "/folder/").unwrap();
        assert_eq!(
            memory,
            Memory {
                all_kib: 2100.0,
                guests_kib: 60.0
            }
        );
    }

    #[test]
    fn what_the_kernel_does_not_say_is_an_error() {
        assert!(memory("RssAnon:\t1 kB\n", "", "/folder/").is_err());
        assert!(memory(STATUS, "Anonymous:             8 kB\n", "/folder/").is_err());
        let of_this_process = memory(
            &std::fs::read_to_string("/proc/self/status").unwrap(),
            &std::fs::read_to_string("/proc/self/smaps").unwrap(),
            "/folder/",
        );
        assert!(of_this_process.unwrap().all_kib > 0.0);
    }
}
