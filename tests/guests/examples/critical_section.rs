//! Does in the critical section what its attributes say, and writes into the log for how long it may trust its lease.
//!
//! `wait_ms`: how long to wait for the lock; `work_ms`: how long to hold it; `blind`: save without a look; `unsaved`:
//! save nothing, and answer with the fencing token. A line `section ask` is written before the lease is asked for,
//! `section begin` once it is held, and `section on` with the milliseconds that it is known to have lasted since, so
//! whoever reads the log knows of a time in which the lease was trusted for certain.

use std::time::Duration;

use namelock_guest::{Handler, Registration, Rejection, Request, find, name_lock};

struct Guest;
namelock_guest::export!(Guest);

/// How often the lease is looked at while it is held.
const STEP: Duration = Duration::from_millis(20);

impl Handler for Guest {
    fn register(request: Request) -> Result<Registration, Rejection> {
        let wished = |key: &str| {
            request
                .attributes
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.as_str())
        };
        let time = |key| Duration::from_millis(wished(key).and_then(|ms| ms.parse().ok()).unwrap_or_default());
        println!("section ask {}", request.name);
        name_lock(&request.name, time("wait_ms"), |lease| {
            let token = lease.fencing_token();
            println!("section begin {token} {}", request.name);
            let first = lease.remaining();
            let mut left = time("work_ms");
            while !left.is_zero() {
                std::thread::sleep(left.min(STEP));
                left = left.saturating_sub(STEP);
                let remaining = lease.remaining();
                if remaining.is_zero() {
                    break;
                }
                println!("section on {token} {}", first.saturating_sub(remaining).as_millis());
            }
            if wished("unsaved").is_some() {
                return Err(Rejection::Invalid(format!("token {token}")));
            }
            if wished("blind").is_none() && find(&request.name)?.is_some() {
                return Err(Rejection::Taken);
            }
            Ok(lease.save(&request.owner, request.lifetime, &[])?)
        })
    }

    fn free(name: String, owner: String) -> Result<(), Rejection> {
        println!("section ask {name}");
        name_lock(&name, Duration::ZERO, |lease| {
            println!("section begin {} {name}", lease.fencing_token());
            match find(&name)? {
                Some(found) if found.owner == owner => {
                    lease.free()?;
                    Ok(())
                }
                Some(_) => Err(Rejection::Forbidden("somebody else has it".to_owned())),
                None => Ok(()),
            }
        })
    }
}
