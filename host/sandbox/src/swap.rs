//! Decides whether instances may be reset by looking at which of their pages were written.
//!
//! wasmtime 48 asks the kernel for the pages of a slot that were written *and are present* (`PAGEMAP_SCAN`), and clears
//! those. A page that was swapped out is not present, so what one tenant wrote there reaches the next instance in the
//! slot (wasmtime issue 14357). Where a page can be swapped out at all, slots are therefore reset in full, which takes
//! longer.
//!
//! This is looked at once, because the pool cannot be changed while it is in use: who gives a running host swap has to
//! start it again, or better forbids it to swap (`MemorySwapMax=0` in its systemd unit).

use std::fs;
use std::path::Path;

/// Whether pages of this process can be swapped out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    /// There is none.
    None,
    /// There is, and this process may not use it.
    Forbidden,
    /// There is, or nobody can tell.
    Possible,
}

impl Swap {
    /// Looks at this machine and the control group of this process.
    pub(crate) fn detect() -> Self {
        let read = |path: &Path| fs::read_to_string(path).ok();
        Self::of(Path::new("/proc"), Path::new("/sys/fs/cgroup"), read)
    }

    /// Tells whether slots may be reset by what the kernel says was written.
    pub(crate) fn allows_scan(self) -> bool {
        self != Self::Possible
    }

    /// Says in the log how instances are reset.
    pub(crate) fn log(self) {
        match self {
            Self::None => tracing::info!("instances are reset page by page where the kernel can: there is no swap"),
            Self::Forbidden => {
                tracing::info!("instances are reset page by page where the kernel can: this process may not swap");
            }
            Self::Possible => tracing::warn!(
                "instances are reset in full, which is slower, because memory may be swapped out; turn swap off or set \
                 MemorySwapMax=0 in the service's unit"
            ),
        }
    }

    fn of(proc: &Path, cgroups: &Path, read: impl Fn(&Path) -> Option<String>) -> Self {
        // The first line is the heading.
        let areas = read(&proc.join("swaps")).map(|text| text.lines().skip(1).any(|line| !line.trim().is_empty()));
        if areas == Some(false) {
            return Self::None;
        }
        let Some(groups) = read(&proc.join("self/cgroup")) else {
            return Self::Possible;
        };
        // Of the second version of control groups alone. The limit of a group holds for all below it.
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let mut forbidden = group.into_iter().flat_map(|group| Path::new(group).ancestors());
        let max = |group: &Path| read(&cgroups.join(group).join("memory.swap.max"));
        if forbidden.any(|group| max(group).is_some_and(|max| max.trim() == "0")) {
            Self::Forbidden
        } else {
            Self::Possible
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NO_SWAP: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    const SWAP: &str = "Filename\tType\tSize\tUsed\tPriority\n/dev/vda2 partition 2097148 0 -2\n";

    fn check(files: &[(&str, &str)], expect: Swap) {
        let files: HashMap<_, _> = files.iter().copied().collect();
        let read = |path: &Path| files.get(path.to_str().unwrap()).map(|text| (*text).to_owned());
        assert_eq!(
            Swap::of(Path::new("/proc"), Path::new("/cg"), read),
            expect,
            "{files:?}"
        );
    }

    #[test]
    fn pages_are_trusted_only_where_none_can_be_swapped_out() {
        check(&[("/proc/swaps", NO_SWAP)], Swap::None);
        check(&[("/proc/swaps", SWAP)], Swap::Possible);
        check(&[], Swap::Possible);
        let groups = ("/proc/self/cgroup", "1:cpu:/a\n0::/system.slice/namelock.service\n");
        let with = |max| {
            [
                ("/proc/swaps", SWAP),
                groups,
                ("/cg/system.slice/namelock.service/memory.swap.max", max),
            ]
        };
        check(&with("0\n"), Swap::Forbidden);
        check(&with("4096\n"), Swap::Possible);
        check(&with("max\n"), Swap::Possible);
        let above = ("/cg/system.slice/memory.swap.max", "0\n");
        check(&[("/proc/swaps", SWAP), groups, above], Swap::Forbidden);
        // A group of the first version says nothing.
        let old = ("/proc/self/cgroup", "4:memory:/a\n");
        check(
            &[("/proc/swaps", SWAP), old, ("/cg/a/memory.swap.max", "0")],
            Swap::Possible,
        );
        assert!(Swap::None.allows_scan() && Swap::Forbidden.allows_scan() && !Swap::Possible.allows_scan());
    }
}
