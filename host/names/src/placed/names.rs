//! What a host does with several databases.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use crate::config::NamesConfig;
use crate::epoch::{EpochStanding, NewEpoch};
use crate::error::{ApplyError, NamesError, OpenError, SaveError};
use crate::figures::Figures;
use crate::list::{ListQuery, Page};
use crate::names::Names;
use crate::past_request::PastRequest;
use crate::placed::members::{Member, Members};
use crate::placed::places::Places;
use crate::quota::Usage;
use crate::registration::{Free, Registration, Save, Update};
use crate::request::RequestKey;
use crate::transaction::WriteOne;
use crate::url::NamesUrl;

/// Names in several PostgreSQL servers.
pub(crate) struct Placed {
    members: Arc<Members>,
    places: Places,
    joining: JoinHandle<()>,
}

/// What is answered where a tenant's names are not.
trait Elsewhere: From<NamesError> {
    fn is_moved(&self) -> bool;
}

impl Elsewhere for NamesError {
    fn is_moved(&self) -> bool {
        *self == Self::Moved
    }
}

impl Elsewhere for SaveError {
    fn is_moved(&self) -> bool {
        *self == Self::Moved
    }
}

impl Elsewhere for ApplyError {
    fn is_moved(&self) -> bool {
        self.save_error() == Some(&SaveError::Moved)
    }
}

impl Placed {
    /// Opens several databases. Those that are down are tried again.
    pub(crate) async fn open(several: &[NamesUrl], config: &NamesConfig) -> Result<Self, OpenError> {
        let members = Arc::new(Members::open(several, config).await?);
        let have_all = members.join().await?;
        let joining = tokio::spawn({
            let members = Arc::clone(&members);
            async move {
                if !have_all {
                    members.join_later().await;
                }
            }
        });
        Ok(Self {
            members,
            places: Places::default(),
            joining,
        })
    }

    /// Asks the database that has the tenant. One that has not says so, and has done nothing; then the other one is asked, once.
    // Keeps P5: nothing is sent a second time that may have been done.
    async fn at<T, E, F>(&self, tenant: &str, ask: impl Fn(Arc<Member>) -> F) -> Result<T, E>
    where
        E: Elsewhere,
        F: Future<Output = Result<T, E>>,
    {
        let member = self.places.remembered(&self.members, tenant).await?;
        match ask(member).await {
            Err(error) if error.is_moved() => {}
            answer => return answer,
        }
        let member = self.places.look(&self.members, tenant).await?;
        match ask(member).await {
            Err(error) if error.is_moved() => Err(NamesError::unavailable(format!(
                "the names of tenant {tenant} are being moved to another database"
            ))
            .into()),
            answer => answer,
        }
    }
}

#[async_trait]
impl Names for Placed {
    async fn find(&self, tenant: &str, name: &str) -> Result<Option<Registration>, NamesError> {
        self.at(tenant, |member| async move { member.names.find(tenant, name).await })
            .await
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        let first = &self.members.first.names;
        let deadline = save.deadline;
        let write = |until| async move {
            self.at(&save.tenant, |member| {
                let save = Save {
                    deadline: until,
                    ..save.clone()
                };
                async move { member.names.save(save).await }
            })
            .await
        };
        first.within_deadline(deadline, write).await
    }

    async fn update(&self, update: Update) -> Result<Option<Registration>, SaveError> {
        let first = &self.members.first.names;
        let deadline = update.deadline;
        let write = |until| async move {
            self.at(&update.tenant, |member| {
                let update = Update {
                    deadline: until,
                    ..update.clone()
                };
                async move { member.names.update(update).await }
            })
            .await
        };
        first.within_deadline(deadline, write).await
    }

    async fn find_request(&self, tenant: &str, request: RequestKey) -> Result<PastRequest, NamesError> {
        self.at(tenant, |member| async move {
            member.names.find_request(tenant, request).await
        })
        .await
    }

    async fn free(&self, free: Free) -> Result<bool, SaveError> {
        let first = &self.members.first.names;
        let deadline = free.deadline;
        let write = |until| async move {
            self.at(&free.tenant, |member| {
                let free = Free {
                    deadline: until,
                    ..free.clone()
                };
                async move { member.names.free(free).await }
            })
            .await
        };
        first.within_deadline(deadline, write).await
    }

    async fn apply(&self, tenant: &str, writes: Vec<WriteOne>) -> Result<Vec<Option<Registration>>, ApplyError> {
        let first = &self.members.first.names;
        let Some(deadline) = writes.iter().map(WriteOne::deadline).min() else {
            return first.apply(tenant, writes).await;
        };
        let write = |until| async move {
            self.at(tenant, |member| {
                let writes = writes.iter().cloned().map(|write| write.no_later_than(until)).collect();
                async move { member.names.apply(tenant, writes).await }
            })
            .await
        };
        first.within_deadline(deadline, write).await
    }

    async fn list(&self, query: ListQuery) -> Result<Page, NamesError> {
        let query = &query;
        self.at(
            &query.tenant,
            |member| async move { member.names.list(query.clone()).await },
        )
        .await
    }

    async fn usage(&self, tenant: &str) -> Result<Usage, NamesError> {
        self.at(tenant, |member| async move { member.names.usage(tenant).await })
            .await
    }

    async fn begin_epoch(&self, server: &str) -> Result<NewEpoch, NamesError> {
        self.members.first.names.begin_epoch(server).await
    }

    async fn check_epoch(&self, server: &str, epoch: u64) -> Result<EpochStanding, NamesError> {
        self.members.first.names.check_epoch(server, epoch).await
    }

    fn clock_off_ms(&self) -> i64 {
        let all = self.members.all.iter().map(|member| member.names.clock_off_ms());
        all.max_by_key(|off_ms| off_ms.saturating_abs()).unwrap_or(0)
    }

    fn figures(&self) -> Figures {
        let all = self.members.all.iter().map(|member| member.names.figures());
        all.fold(Figures::default(), |sum, one| Figures {
            writes_overdue: sum.writes_overdue + one.writes_overdue,
            writes_unanswered: sum.writes_unanswered + one.writes_unanswered,
            time_age: sum.time_age.max(one.time_age),
            time_jumped: sum.time_jumped.max(one.time_jumped),
            purge_fails: sum.purge_fails || one.purge_fails,
            lacks_standby: sum.lacks_standby || one.lacks_standby,
        })
    }

    async fn ready(&self) -> Result<(), NamesError> {
        // The tenants of the others are served or not by themselves.
        self.members.first.names.ready().await
    }

    fn deadline(&self) -> Duration {
        self.members.first.names.deadline()
    }

    async fn close(&self) {
        self.joining.abort();
        for member in &self.members.all {
            member.names.close().await;
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.joining.abort();
    }
}
