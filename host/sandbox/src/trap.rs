//! Tells why a call broke down: one error for whoever asked, and one text for the tenant's log.
//!
//! All texts here may be a stranger's: names of functions come from its component, messages may quote what it passed.
//! So each is cut while it is written, and escaped. Backtraces are rendered by [`describe`] alone, once for a call.

use std::fmt::{self, Write as _};

use namelock_account::Limit;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::config::Tenant;
use crate::engine::FRAMES_MAX;
use crate::error::CallError;
use crate::state::State;
use crate::text::push_escaped;

/// The longest name of a function or module in a log, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// The beginnings of wasmtime's messages that a guest has handed too many bytes to the host, and that it has asked for
/// too many random bytes. These two are recognised by words because the first has no public type and the second none at
/// all. A test reaches each.
const HOST_BYTES_MESSAGE: &str = "too much data is being copied between the host and the guest";
const RANDOM_BYTES_MESSAGE: &str = "requested len ";

/// The error that ends a guest which has used up a limit.
#[derive(Debug, thiserror::Error)]
#[error("the call used more {} than it may", .0.key())]
pub(crate) struct LimitReached(pub(crate) Limit);

/// The first cause of a breakdown, cut and escaped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reason(String);

/// Tells why a call trapped, and counts the limit that ended it.
pub(crate) fn call_error(error: &wasmtime::Error, state: &State) -> CallError {
    // Keeps P7: a call for which the pool has no instance is refused at once.
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return CallError::Overloaded;
    }
    let account = &state.tenant.account;
    if matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) {
        account.refuse(Limit::CpuTime);
        return cpu_time_over(&state.tenant);
    }
    let reason = reason(error);
    if let Some(limit) = limit_reached(error, &reason) {
        account.refuse(limit);
        return CallError::Limit { limit: limit.key() };
    }
    let reason = Box::new(Reason(reason));
    if state.limiter.denied {
        return CallError::OutOfMemory(reason);
    }
    CallError::Trapped(reason)
}

/// The error of a call that has run for as long as it may.
pub(crate) fn cpu_time_over(tenant: &Tenant) -> CallError {
    CallError::Deadline {
        limit: "CPU time",
        time: tenant.limits.cpu_time,
    }
}

/// Tells which limit ended the call.
fn limit_reached(error: &wasmtime::Error, reason: &str) -> Option<Limit> {
    if let Some(LimitReached(limit)) = error.downcast_ref() {
        Some(*limit)
    } else if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        Some(Limit::Handles)
    } else if reason.starts_with(HOST_BYTES_MESSAGE) {
        Some(Limit::HostBytes)
    } else if reason.starts_with(RANDOM_BYTES_MESSAGE) {
        Some(Limit::RandomBytes)
    } else {
        None
    }
}

/// Renders why a call broke down and where, as one line: the first cause, and the innermost functions with the offsets
/// in their modules.
// Keeps P6: whatever symbols a component has, what is written about its trap is bounded.
pub(crate) fn describe(error: &wasmtime::Error) -> String {
    let mut text = reason(error);
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames);
    for (index, frame) in frames.unwrap_or_default().iter().take(FRAMES_MAX).enumerate() {
        text.push_str(if index == 0 { "; at " } else { " < " });
        if let Some(module) = frame.module().name() {
            push_escaped(&mut text, module, NAME_BYTES_MAX);
            text.push('!');
        }
        match frame.func_name() {
            Some(name) => push_escaped(&mut text, name, NAME_BYTES_MAX),
            // Writing to a String cannot fail.
            None => drop(write!(text, "function {}", frame.func_index())),
        }
        if let Some(offset) = frame.module_offset() {
            let _ = write!(text, " {offset:#x}");
        }
    }
    text
}

/// The first cause, without the contexts around it: one of them is the backtrace, two where the guest was called back
/// by the host.
fn reason(error: &wasmtime::Error) -> String {
    let mut cut = Cut::default();
    // An error says that the text was longer.
    let _ = write!(cut, "{}", error.root_cause());
    let mut reason = String::new();
    push_escaped(&mut reason, &cut.0, REASON_BYTES_MAX);
    reason
}

/// A text that takes only as much as may be shown, so that the rest of a long one is not even copied.
#[derive(Default)]
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One letter more than is shown, so that a cut is noticed.
        let room = (REASON_BYTES_MAX + 4).saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;
    use crate::config::SandboxConfig;
    use crate::engine::engine_config;
    use crate::swap::Swap;

    /// Runs a module whose function of this name calls itself until the stack is full, and describes its trap.
    fn overflow(name: &str) -> String {
        let text = r#"(module (func $f (export "f") (call $f)))"#;
        let mut module = wat::parse_str(text).unwrap();
        // A section of names: one of functions, with one name, that of function 0.
        let mut names = vec![1];
        let mut map = vec![1, 0];
        leb(&mut map, name.len());
        map.extend(name.as_bytes());
        leb(&mut names, map.len());
        names.extend(map);
        let mut section = b"\x04name".to_vec();
        section.extend(names);
        // The text's own names end the module.
        let own = module.windows(5).rposition(|bytes| bytes == b"\x04name").unwrap();
        module.truncate(own - 2);
        module.push(0);
        leb(&mut module, section.len());
        module.extend(section);

        let config = SandboxConfig {
            instances: 1,
            ..SandboxConfig::default()
        };
        let mut engine = engine_config(&config, Swap::None);
        engine.epoch_interruption(false);
        let engine = Engine::new(&engine).unwrap();
        let module = Module::new(&engine, module).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let function = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        describe(&function.call(&mut store, ()).unwrap_err())
    }

    fn leb(to: &mut Vec<u8>, mut number: usize) {
        while number >= 0x80 {
            to.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        to.push(number as u8);
    }

    // Shows P6: a component's symbols cost the host's log no more than a bounded line.
    #[test]
    fn a_trap_of_long_names_is_one_short_line() {
        let line = overflow(&"x".repeat(1 << 20));
        assert!(line.starts_with("wasm trap: call stack exhausted; at "), "{line}");
        assert_eq!(line.matches(&"x".repeat(NAME_BYTES_MAX)).count(), FRAMES_MAX);
        assert!(line.len() < FRAMES_MAX * (NAME_BYTES_MAX + 20) + 100, "{}", line.len());
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let line = overflow("f\n2026-01-01T00:00:00Z ERROR \u{1b}[31mforged");
        assert!(
            line.contains(r"f\n2026-01-01T00:00:00Z ERROR \u{1b}[31mforged"),
            "{line}"
        );
        assert!(!line.contains(char::is_control), "{line}");
    }

    // Without the names of C++ or Rust there is nothing in wasmtime that could grow one.
    #[test]
    fn a_symbol_is_not_demangled() {
        let line = overflow("_ZN3fooIiE3barEv");
        assert!(line.contains("_ZN3fooIiE3barEv"), "{line}");
    }

    #[test]
    fn a_long_message_is_cut_between_two_letters() {
        let line = describe(&wasmtime::Error::msg("\u{1d11e}".repeat(1000)));
        assert_eq!(line, format!("{}…", "\u{1d11e}".repeat(REASON_BYTES_MAX / 4)));
    }
}
