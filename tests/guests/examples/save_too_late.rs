//! Sleeps until less of its lease is left than the database may take, then saves.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

/// Less than `names.busy_timeout` of the host that runs this.
const LEFT: Duration = Duration::from_millis(400);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        sleep(lease.remaining().saturating_sub(LEFT));
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}
