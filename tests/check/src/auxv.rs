//! Hides from this process, and from those that it starts, where the kernel has put its code in a process.
//!
//! Under valgrind that code (the vDSO) is not there, and valgrind leaves it out of the list of such addresses that a process is
//! given. But it does not know the newer way to ask for that list, `prctl(PR_GET_AUXV)`, and passes the question on: the crate
//! `rustix` then reads where nothing is. Where that way is refused, as by Linux before 6.4, it reads valgrind's list.

use std::collections::BTreeMap;

use anyhow::Context;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Of `linux/prctl.h`.
const PR_GET_AUXV: u64 = 0x4155_5856;

/// Refuses the newer way from now on.
pub(crate) fn hide() -> anyhow::Result<()> {
    let is_asked = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, PR_GET_AUXV)?;
    let rules = BTreeMap::from([(libc::SYS_prctl, vec![SeccompRule::new(vec![is_asked])?])]);
    let refuse = SeccompAction::Errno(libc::EINVAL.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?;
    seccompiler::apply_filter(&program).context("cannot hide the kernel's code from processes under valgrind")
}
