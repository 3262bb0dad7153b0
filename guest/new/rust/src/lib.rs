//! Campaign codes: the first to ask for a code has it until it ends, or until its owner frees it.

use std::time::Duration;

use namelock_guest::{
    Handler, Registration, Rejection, Request, SettingError, find, name_lock, setting_parsed,
};

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Codes;

namelock_guest::export!(Codes);

impl Handler for Codes {
    fn register(request: Request) -> Result<Registration, Rejection> {
        let code = canonical(&request.name)?;
        let lifetime = request.lifetime.map_or_else(default_lifetime, Ok)?;
        // While this block runs, nobody else works on the code, on any machine.
        name_lock(&code, wait()?, |lock| {
            if find(&code)?.is_some() {
                return Err(Rejection::Taken);
            }
            Ok(lock.save(&request.owner, Some(lifetime), &request.attributes)?)
        })
    }

    fn free(name: String, owner: String) -> Result<(), Rejection> {
        let code = canonical(&name)?;
        name_lock(&code, wait()?, |lock| {
            if let Some(found) = find(&code)? {
                if found.owner != owner {
                    let why = "the code belongs to somebody else".to_owned();
                    return Err(Rejection::Forbidden(why));
                }
                lock.free()?;
            }
            Ok(())
        })
    }
}

/// Returns the one form of a code that is locked and saved, however it was written.
fn canonical(text: &str) -> Result<String, Rejection> {
    let code = text.trim_matches(' ');
    if !(4..=12).contains(&code.len()) || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let why = "a code has 4 to 12 letters and digits".to_owned();
        return Err(Rejection::Invalid(why));
    }
    Ok(code.to_ascii_uppercase())
}

fn wait() -> Result<Duration, SettingError> {
    Ok(setting_parsed("wait_ms")?.map_or(Duration::ZERO, Duration::from_millis))
}

fn default_lifetime() -> Result<Duration, SettingError> {
    Ok(setting_parsed("default_lifetime_ms")?.map_or(A_DAY, Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use namelock_guest::fake::{World, request};

    use super::*;

    #[test]
    fn a_code_has_one_owner_at_a_time() {
        let world = World::new();
        let ask = |code: &str, owner: &str| world.register::<Codes>(request(code, owner));
        assert_eq!(ask(" spring ", "ann").unwrap().name, "SPRING");
        assert_eq!(ask("Spring", "bob"), Err(Rejection::Taken));
        world.advance(A_DAY);
        assert_eq!(ask("Spring", "bob").unwrap().owner, "bob");
    }

    #[test]
    fn a_code_that_somebody_else_works_on_is_busy() {
        let (world, retry_after) = (World::new(), Duration::from_millis(300));
        world.hold_lock_for("SPRING", retry_after);
        let refused = world.register::<Codes>(request("spring", "ann"));
        assert_eq!(refused, Err(Rejection::Busy { retry_after }));
    }

    #[test]
    fn only_its_owner_frees_a_code() {
        let world = World::new();
        world.add("SPRING", "ann", None, &[]);
        let refused = world.free::<Codes>("spring", "bob");
        assert!(matches!(refused, Err(Rejection::Forbidden(_))));
        assert_eq!(world.free::<Codes>("spring", "ann"), Ok(()));
        assert_eq!(world.registrations(), []);
    }
}
