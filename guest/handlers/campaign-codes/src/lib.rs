//! Campaign codes: each is given out once, with a check character against typing mistakes, and made up when asked.
//!
//! What the name of a request may be:
//!
//! | name | meaning |
//! |---|---|
//! | `new` | any code that is free |
//! | `SUMMER-*` | any free code that begins with this |
//! | `SUMMER-7K3…` | this code; the check character at its end must fit |
//!
//! A code is letters and digits. It is locked and saved in capitals, without the hyphens and spaces that it may be written
//! with, so the answer to a registration has the code as its name. The check character is that of ISO 7064 MOD 37,36 ([`code`]).
//!
//! A code that is made up is drawn at random, from the host's source of random numbers (`wasi:random`, by `getrandom`). If
//! it is taken or somebody is at work on it, the next one is tried, a bounded number of times. Only the code that is found is
//! saved, and first of all: so a request that is sent again with its idempotency key gets the same code, not another one.
//!
//! Its settings, in the table `[settings]` of the tenant's `tenant.toml`:
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `wait_ms` | how long to wait for the lock on a code that was asked for, in milliseconds | 0: try once |
//! | `random_chars` | how many random characters a code that is made up has, 1 to 32; each has 5 bits | 8: a trillion codes |
//! | `attempts` | how many codes are drawn for a request at most, 1 to 32 | 8 |
//!
//! A code lasts as long as the caller wishes; without a wish, it does not end.

pub mod code;
#[cfg(test)]
mod tests;

use std::{num::ParseIntError, str::FromStr, time::Duration};

use namelock_guest::{Handler, Registration, Rejection, Request, SettingError, find, name_lock, setting_parsed};

use crate::code::{CODE_CHARS_MAX, Code, CodeError, Wish};

/// How many random characters a code has.
const RANDOM_CHARS: usize = 8;

/// How many codes are drawn.
const ATTEMPTS: usize = 8;

/// The most that either of them may be.
const COUNT_MAX: usize = 32;

struct CampaignCodes;

namelock_guest::export!(CampaignCodes);

impl Handler for CampaignCodes {
    fn register(request: Request) -> Result<Registration, Rejection> {
        match Wish::parse(&request.name)? {
            Wish::Code(code) => save(&code, wait()?, &request),
            Wish::Any { prefix } => draw(&prefix, &request),
        }
    }

    fn free(name: String, owner: String) -> Result<(), Rejection> {
        let code = Code::parse(&name)?;
        name_lock(code.as_str(), wait()?, |lease| match find(code.as_str())? {
            Some(found) if found.owner != owner => {
                Err(Rejection::Forbidden("the code belongs to somebody else".to_owned()))
            }
            Some(_) => {
                lease.free()?;
                Ok(())
            }
            None => Ok(()),
        })
    }
}

/// Saves the first code of those that are drawn that nobody has.
fn draw(prefix: &str, request: &Request) -> Result<Registration, Rejection> {
    let chars = count("random_chars", RANDOM_CHARS)?;
    let attempts = count("attempts", ATTEMPTS)?;
    let all = prefix.len() + chars + 1;
    if all > CODE_CHARS_MAX {
        return Err(CodeError::Length { chars: all }.into());
    }
    for _ in 0..attempts {
        let code = random_code(prefix, chars)?;
        match save(&code, Duration::ZERO, request) {
            Err(Rejection::Taken | Rejection::Busy { .. }) => {}
            done => return done,
        }
    }
    Err(Rejection::Unavailable(format!(
        "no code that begins with {prefix:?} was free in {attempts} attempts: try again, or have `random_chars` raised"
    )))
}

fn random_code(prefix: &str, chars: usize) -> Result<Code, Rejection> {
    let mut random = [0; COUNT_MAX];
    // One in nine has a check character that is not wanted, so this ends soon.
    loop {
        getrandom::fill(&mut random)
            .map_err(|error| Rejection::Unavailable(format!("there are no random numbers: {error}")))?;
        if let Some(code) = Code::of(prefix, &random[..chars]) {
            return Ok(code);
        }
    }
}

fn save(code: &Code, wait: Duration, request: &Request) -> Result<Registration, Rejection> {
    name_lock(code.as_str(), wait, |lease| {
        if find(code.as_str())?.is_some() {
            return Err(Rejection::Taken);
        }
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}

impl From<CodeError> for Rejection {
    fn from(error: CodeError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// A number from 1 to [`COUNT_MAX`].
struct Count(usize);

#[derive(Debug, thiserror::Error)]
enum CountError {
    #[error(transparent)]
    Number(#[from] ParseIntError),
    #[error("it is 1 to {COUNT_MAX}")]
    Range,
}

impl FromStr for Count {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, CountError> {
        match text.parse()? {
            count @ 1..=COUNT_MAX => Ok(Self(count)),
            _ => Err(CountError::Range),
        }
    }
}

fn count(key: &str, default: usize) -> Result<usize, SettingError> {
    Ok(setting_parsed(key)?.map_or(default, |Count(count)| count))
}

fn wait() -> Result<Duration, SettingError> {
    Ok(setting_parsed("wait_ms")?.map_or(Duration::ZERO, Duration::from_millis))
}
