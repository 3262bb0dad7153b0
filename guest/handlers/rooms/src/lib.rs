//! Names of rooms: the first to ask for a name has it until its lifetime ends.
//!
//! This is the reference handler, a starting point for others. It does what every handler does:
//!
//! 1. bring the name into its canonical form, and refuse what is not a valid name ([`name`]);
//! 2. take the lock on the name, so that no other call works on it;
//! 3. check whether the name is taken;
//! 4. save it, for as long as the caller wishes.
//!
//! The owner of a room may prolong it, hand it over and change its attributes; nobody else may.
//!
//! Its settings, in the table `[settings]` of the tenant's `tenant.toml`:
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `wait_ms` | how long to wait for the lock while another call holds it, in milliseconds | 0: try once |
//! | `default_lifetime_ms` | how long a room lasts if the caller does not say, in milliseconds | 86400000: a day |

pub mod name;
#[cfg(test)]
mod tests;

use std::time::Duration;

use namelock_guest::{
    Handler, Registration, Rejection, Request, SettingError, UpdateRejection, UpdateRequest, Updates, find, name_lock,
    setting_parsed,
};

use crate::name::{NameError, RoomName};

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Rooms;

namelock_guest::export!(Rooms, updates);

impl Handler for Rooms {
    fn register(request: Request) -> Result<Registration, Rejection> {
        let name = RoomName::parse(&request.name)?;
        let lifetime = match request.lifetime {
            Some(wished) => wished,
            None => default_lifetime()?,
        };
        // The lock is released when this block ends, however it ends. Looking first only spares the database a write:
        // that the name has one owner does not depend on it, because `save` returns "taken" too.
        name_lock(name.as_str(), wait()?, |lease| {
            if find(name.as_str())?.is_some() {
                return Err(Rejection::Taken);
            }
            Ok(lease.save(&request.owner, Some(lifetime), &request.attributes)?)
        })
    }

    fn free(name: String, owner: String) -> Result<(), Rejection> {
        let name = RoomName::parse(&name)?;
        // Under the lock, the owner found here is still the owner when the room is freed.
        name_lock(name.as_str(), wait()?, |lease| match find(name.as_str())? {
            Some(room) if room.owner != owner => {
                Err(Rejection::Forbidden("the room belongs to somebody else".to_owned()))
            }
            Some(_) => {
                lease.free()?;
                Ok(())
            }
            None => Ok(()),
        })
    }
}

impl Updates for Rooms {
    fn update(request: UpdateRequest) -> Result<Registration, UpdateRejection> {
        let name = RoomName::parse(&request.name).map_err(Rejection::from)?;
        name_lock(name.as_str(), wait()?, |lease| match find(name.as_str())? {
            Some(room) if room.owner != request.owner => Err(UpdateRejection::Forbidden(
                "the room belongs to somebody else".to_owned(),
            )),
            // It may end between the two.
            Some(_) => lease.update(request.change)?.ok_or(UpdateRejection::Missing),
            None => Err(UpdateRejection::Missing),
        })
    }
}

impl From<NameError> for Rejection {
    fn from(error: NameError) -> Self {
        Self::Invalid(error.to_string())
    }
}

fn wait() -> Result<Duration, SettingError> {
    Ok(setting_parsed("wait_ms")?.map_or(Duration::ZERO, Duration::from_millis))
}

fn default_lifetime() -> Result<Duration, SettingError> {
    Ok(setting_parsed("default_lifetime_ms")?.map_or(A_DAY, Duration::from_millis))
}
