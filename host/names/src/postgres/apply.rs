//! Several writes as one, and why none of them was done where that is so.

use std::sync::Arc;

use tokio::time::Instant;

use crate::error::{ApplyError, SaveError};
use crate::postgres::parameters::{Kind, Stored, of_free, of_save, of_update};
use crate::postgres::quotas::Quotas;
use crate::postgres::rows::{registration, times};
use crate::postgres::save::{Obstacle, TRIES, contended, obstacle_to_free, obstacle_to_save, obstacle_to_update};
use crate::postgres::server::{Server, refused};
use crate::postgres::sql::{is_too_late, is_used_key};
use crate::postgres::statement::{StatementError, Work, parameters};
use crate::postgres::transaction::{Grows, Outcome, Step, Transaction};
use crate::registration::Registration;
use crate::transaction::{WriteOne, Writes, in_given_order};

pub(super) async fn apply(
    server: &Server,
    quotas: &Quotas,
    tenant: &str,
    writes: &Writes,
    until: Instant,
) -> Result<Vec<Option<Registration>>, ApplyError> {
    let (first_to_end, _) = writes.first_to_end();
    let lease_lost = ApplyError::Write {
        index: first_to_end,
        error: SaveError::LeaseLost,
    };
    for _ in 0..TRIES {
        let mut steps = Vec::with_capacity(writes.writes.len());
        for (index, write) in &writes.writes {
            let step = step(server, write, until);
            steps.push(step.map_err(|error| ApplyError::Write { index: *index, error })?);
        }
        let transaction = Transaction {
            sql: Arc::clone(&server.sql),
            time: Arc::clone(&server.time),
            writes: steps,
            usage: parameters![tenant.to_owned()],
            quota: writes.quota,
            until,
            _keep: writes.keeps().cloned().collect(),
        };
        let place = match server.ask(tenant, Work::Write(until), transaction).await {
            Ok(Outcome::Done(rows)) => {
                let results = writes.writes.iter().zip(rows).map(|((index, write), row)| {
                    let result = match write {
                        WriteOne::Save(save) => {
                            let (created_ms, expires_ms) = times(&row)?;
                            Some(save.clone().registered(created_ms, expires_ms))
                        }
                        WriteOne::Update(_) => Some(registration(&row)?),
                        WriteOne::Free(_) => None,
                    };
                    Ok((*index, result))
                });
                return Ok(in_given_order(results.collect::<Result<_, ApplyError>>()?));
            }
            Ok(Outcome::Quota(kind)) => {
                quotas.purge_wanted.notify_one();
                return Err(ApplyError::All(SaveError::Quota(kind)));
            }
            Ok(Outcome::Failed(_, error)) if is_too_late(&error) => return Err(lease_lost),
            Ok(Outcome::Failed(place, error)) if is_used_key(&error) => place,
            Ok(Outcome::Failed(_, error)) => return Err(ApplyError::All(refused(StatementError::Server(error)))),
            Ok(Outcome::Nothing(place)) => place,
            Err(error) => {
                return Err(match refused(error) {
                    SaveError::LeaseLost => lease_lost,
                    error => ApplyError::All(error),
                });
            }
        };
        let Some((index, write)) = writes.writes.get(place) else {
            continue;
        };
        let obstacle = match write {
            WriteOne::Save(save) => obstacle_to_save(server, save).await,
            WriteOne::Update(update) => obstacle_to_update(server, update).await.map(|(obstacle, _)| obstacle),
            WriteOne::Free(free) => obstacle_to_free(server, free).await,
        };
        match obstacle.map_err(ApplyError::All)? {
            Obstacle::Refused(error) => return Err(ApplyError::Write { index: *index, error }),
            Obstacle::NoRegistration => return Err(ApplyError::NoRegistration { index: *index }),
            Obstacle::Gone(_) => {}
        }
    }
    Err(ApplyError::All(contended()))
}

fn step(server: &Server, write: &WriteOne, until: Instant) -> Result<Step, SaveError> {
    let (sql, own, grows) = match write {
        WriteOne::Save(save) => {
            let stored = Stored::new(save)?;
            let own = of_save(server, save, &stored, Kind::WithExtras, until);
            (&server.sql.save_with_extras, own, Grows::To(stored.usage))
        }
        WriteOne::Update(update) => (&server.sql.update, of_update(server, update, until)?, Grows::ToReturned),
        WriteOne::Free(free) => (&server.sql.free, of_free(server, free, until)?, Grows::Not),
    };
    Ok(Step {
        sql: Arc::clone(sql),
        parameters: own,
        lock: parameters![write.tenant().to_owned(), write.name().as_bytes().to_vec()],
        grows,
    })
}
