//! Names that can be renamed and swapped: the locks on two names, and two writes that are done together or not at all.
//!
//! What a registration is to do beside taking its name, its attributes say:
//!
//! | attribute | meaning |
//! |---|---|
//! | `rename_from` | free this name, which the caller has, and give the caller the new one for as long and with the same attributes |
//! | `swap_with` | each owner gets the name of the other; the caller has both names |
//!
//! Its settings, in the table `[settings]` of the tenant's `tenant.toml`:
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `wait_ms` | how long to wait for the locks, in milliseconds | 0: try once |
//! | `swap_with_others` | whether it is enough that the caller has one of the two names, and the other owner is not asked | false |

use std::time::Duration;

use namelock_guest::{
    Change, Handler, Lease, Registration, Rejection, Request, SettingError, Write, apply, find, name_lock, name_locks,
    setting_parsed,
};

struct Rename;

namelock_guest::export!(Rename);

impl Handler for Rename {
    fn register(request: Request) -> Result<Registration, Rejection> {
        let attribute = |wanted: &str| {
            let mut all = request.attributes.iter();
            all.find_map(|(key, value)| (key == wanted).then_some(value.as_str()))
        };
        if let Some(old) = attribute("rename_from") {
            return rename(old, &request);
        }
        if let Some(other) = attribute("swap_with") {
            return swap(&request, other);
        }
        name_lock(&request.name, wait()?, |lease| {
            Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
        })
    }

    fn free(name: String, owner: String) -> Result<(), Rejection> {
        name_lock(&name, wait()?, |lease| {
            if let Some(found) = find(&name)? {
                check_owner(&found, &owner)?;
                lease.free()?;
            }
            Ok(())
        })
    }
}

/// Frees the old name and saves the new one, in one transaction of the database.
fn rename(old: &str, request: &Request) -> Result<Registration, Rejection> {
    name_locks(&[old, &request.name], wait()?, |leases| {
        let [old_lease, new_lease] = leases else {
            return Err(one_lease_each());
        };
        let found = owned(old, &request.owner)?;
        let rest = found
            .expires_ms
            .map(|ends| Duration::from_millis(ends.saturating_sub(found.created_ms)));
        let writes = vec![
            Write::free(old_lease),
            Write::save(new_lease, &request.owner, rest, &found.attributes),
        ];
        apply(writes)?.pop().flatten().ok_or_else(one_lease_each)
    })
}

fn hand_over(lease: &Lease, owner: String) -> Write<'_> {
    let change = Change {
        owner: Some(owner),
        ..Change::default()
    };
    Write::update(lease, change)
}

/// Gives each of two names to the owner of the other.
fn swap(request: &Request, other: &str) -> Result<Registration, Rejection> {
    name_locks(&[&request.name, other], wait()?, |leases| {
        let [one, two] = leases else {
            return Err(one_lease_each());
        };
        let (first, second) = (taken(&request.name)?, taken(other)?);
        let is_callers = [&first, &second].map(|found| found.owner == request.owner);
        // Nobody gives away what is another one's, unless the tenant says that this is what names are for.
        let is_allowed = match swaps_with_others()? {
            true => is_callers.contains(&true),
            false => !is_callers.contains(&false),
        };
        if !is_allowed {
            return Err(not_yours());
        }
        let mut swapped = apply(vec![hand_over(one, second.owner), hand_over(two, first.owner)])?;
        swapped.swap_remove(0).ok_or_else(|| missing(&request.name))
    })
}

fn owned(name: &str, owner: &str) -> Result<Registration, Rejection> {
    let found = taken(name)?;
    check_owner(&found, owner)?;
    Ok(found)
}

fn taken(name: &str) -> Result<Registration, Rejection> {
    find(name)?.ok_or_else(|| missing(name))
}

fn check_owner(found: &Registration, owner: &str) -> Result<(), Rejection> {
    if found.owner == owner { Ok(()) } else { Err(not_yours()) }
}

fn not_yours() -> Rejection {
    Rejection::Forbidden("the name belongs to somebody else".to_owned())
}

fn missing(name: &str) -> Rejection {
    Rejection::Invalid(format!("{name:?} has no active registration"))
}

fn one_lease_each() -> Rejection {
    Rejection::Unavailable("the host gave another number of results than it was asked for".to_owned())
}

fn swaps_with_others() -> Result<bool, SettingError> {
    Ok(setting_parsed("swap_with_others")?.unwrap_or(false))
}

fn wait() -> Result<Duration, SettingError> {
    Ok(setting_parsed("wait_ms")?.map_or(Duration::ZERO, Duration::from_millis))
}
