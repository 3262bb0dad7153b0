//! What decides the counts beside the sources, as this machine has it.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use namelock_bench_check::baseline::MadeWith;

/// Asks the programs; `processor` is what [`processor`] says under valgrind.
pub(crate) fn made_with(processor: String) -> anyhow::Result<MadeWith> {
    Ok(MadeWith {
        rustc: version("rustc")?,
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        cc: version("cc")?,
        valgrind: version("valgrind")?,
        processor,
        reset: reset(
            &fs::read_to_string("/proc/sys/kernel/osrelease")?,
            &fs::read_to_string("/proc/swaps")?,
        )
        .to_owned(),
    })
}

/// How the sandbox resets instances: by what the kernel says was written, from Linux 6.7 on, unless pages can be swapped out. That
/// swap may be forbidden to a process does not matter here.
fn reset(release: &str, swaps: &str) -> &'static str {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.trim().parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    // The first line is the heading.
    let swaps = swaps.lines().skip(1).any(|line| !line.trim().is_empty());
    if version >= (6, 7) && !swaps {
        "page by page"
    } else {
        "in full"
    }
}

/// The first line that a program says of its version.
fn version(program: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {program}, which is needed to compare counts"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().next().unwrap_or_default().trim().to_owned();
    ensure!(
        output.status.success() && !line.is_empty(),
        "{program} does not say its version"
    );
    Ok(line)
}

/// What this processor can do of what the compiler of components, and libraries, ask for.
#[cfg(target_arch = "x86_64")]
pub(crate) fn processor() -> String {
    macro_rules! those_of {
        ($($feature:tt)*) => {
            [$(($feature, std::arch::is_x86_feature_detected!($feature))),*]
        };
    }
    let all = those_of!("sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "lzcnt" "bmi1" "bmi2" "avx" "avx2" "fma" "aes" "sha" "avx512f");
    let detected: Vec<_> = all.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
    detected.join(" ")
}

/// What this processor can do of what the compiler of components, and libraries, ask for.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn processor() -> String {
    "any".to_owned()
}

/// Whether code that is compiled for this processor runs under valgrind, which knows no AVX-512.
pub(crate) fn runs_under_valgrind() -> bool {
    !processor().ends_with("avx512f")
}
