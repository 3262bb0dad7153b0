//! The words between a call and its tape.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

use super::exchange::{Answer, Noted};
use super::{Limits, Request, Why};

/// What a call is recorded with before it begins.
pub(crate) struct About<'a> {
    pub(crate) component: String,
    pub(crate) tenant: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) request: Request,
    pub(crate) keyed: bool,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) limits: Limits,
}

/// What becomes of a question.
#[derive(Debug)]
pub(crate) enum Play {
    /// The service is to be asked.
    Ask,
    /// This was recorded.
    Told {
        answer: Answer,
        noted: Option<Noted>,
        held_ms: Option<u64>,
    },
    /// The call ends here.
    Over,
}

/// Why a replay is over before its component has returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Over {
    /// The host ended the recorded call here.
    Ended(Why),
    /// The component does something else than was recorded.
    Differs(String),
}

/// The clocks of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Wall,
    Monotonic,
}

/// What random numbers are drawn from.
#[derive(Clone, Copy)]
pub(crate) struct Seed(pub(super) [u8; 32]);

impl Seed {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut seed = [0; 32];
        if text.len() != 2 * seed.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in seed.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(seed))
    }

    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// One of several generators that have nothing to do with each other. It is a cipher, as secure numbers need it.
    fn stream(self, number: u64) -> ChaCha20Rng {
        let mut numbers = ChaCha20Rng::from_seed(self.0);
        numbers.set_stream(number);
        numbers
    }

    /// The numbers of `wasi:random/random`.
    pub(crate) fn secure(self) -> ChaCha20Rng {
        self.stream(0)
    }

    /// Those of `wasi:random/insecure`.
    pub(crate) fn insecure(self) -> ChaCha20Rng {
        self.stream(1)
    }

    /// That of `wasi:random/insecure-seed`.
    pub(crate) fn insecure_seed(self) -> u128 {
        let mut numbers = self.stream(2);
        u128::from(numbers.next_u64()) << 64 | u128::from(numbers.next_u64())
    }
}
