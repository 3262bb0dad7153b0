//! Which databases there are, and that they belong together.
//!
//! Each database but the first remembers the id of the first that it belongs to, from when it is used first; then it must be empty.
//! So one that belongs elsewhere is noticed, and a host that is given a list with another beginning. A database that is down when a
//! host starts joins later: until then its tenants are not served.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::config::NamesConfig;
use crate::error::{NamesError, OpenError};
use crate::postgres::{Identity, Postgres, Role};
use crate::url::NamesUrl;

/// How often a database that could not join tries again.
const AGAIN: Duration = Duration::from_secs(1);

/// One of several databases.
pub(super) struct Member {
    pub(super) names: Postgres,
    /// Its URL without a password.
    shown: String,
    /// Its id, once it is known to belong to the first one.
    id: Mutex<Option<String>>,
}

/// All of them.
pub(super) struct Members {
    pub(super) first: Arc<Member>,
    pub(super) all: Vec<Arc<Member>>,
}

impl Members {
    /// Opens all of them at once. One that is down is no error.
    pub(super) async fn open(several: &[NamesUrl], config: &NamesConfig) -> Result<Self, OpenError> {
        let mut opening = JoinSet::new();
        for (index, url) in several.iter().enumerate() {
            let (shown, config) = (url.to_string(), config.clone());
            let NamesUrl::Postgres(server) = url.clone() else {
                return Err(not_several(several));
            };
            opening.spawn(async move {
                let role = if index == 0 { Role::First } else { Role::Other };
                let names = Postgres::open(&server, &shown, config, role).await?;
                let id = Mutex::default();
                Ok::<_, OpenError>((index, Arc::new(Member { names, shown, id })))
            });
        }
        let mut all = Vec::new();
        while let Some(opened) = opening.join_next().await {
            all.push(opened.map_err(|_| not_several(several))??);
        }
        all.sort_by_key(|(index, _)| *index);
        let all: Vec<_> = all.into_iter().map(|(_, member)| member).collect();
        let first = all.first().cloned().ok_or_else(|| not_several(several))?;
        Ok(Self { first, all })
    }

    /// Has all join that can. Returns whether all have.
    pub(super) async fn join(&self) -> Result<bool, OpenError> {
        let mut joining = JoinSet::new();
        let first = match self.first.id() {
            Some(first) => first,
            None => match self.first.names.identity().await {
                Ok(Identity { id, .. }) => {
                    *self.first.id.lock() = Some(id.clone());
                    id
                }
                Err(_) => return Ok(false),
            },
        };
        for member in self.all.iter().skip(1).filter(|member| member.id().is_none()).cloned() {
            let first = first.clone();
            joining.spawn(async move {
                let identity = member.names.join(&first).await;
                (member, identity)
            });
        }
        let (mut have_all, mut refused) = (true, None);
        while let Some(joined) = joining.join_next().await {
            let Ok((member, joined)) = joined else {
                have_all = false;
                continue;
            };
            match joined.map(|identity| self.accept(&member, &first, identity)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => refused = Some(error),
                Err(NamesError::Unavailable { .. } | NamesError::Moved) => have_all = false,
            }
        }
        refused.map_or(Ok(have_all), Err)
    }

    fn accept(&self, member: &Member, first: &str, identity: Identity) -> Result<(), OpenError> {
        let refused = |problem: String| {
            Err(OpenError::Server {
                url: member.shown.clone(),
                problem,
            })
        };
        if self.all.iter().any(|other| other.id().as_ref() == Some(&identity.id)) {
            return refused(format!(
                "it is the same database as another one of the list, or a copy of it: both have the id {}; give each once",
                identity.id
            ));
        }
        match identity.first {
            Some(its_first) if its_first == first => {
                *member.id.lock() = Some(identity.id);
                Ok(())
            }
            Some(its_first) => refused(format!(
                "it belongs to the first database with the id {its_first}, and the first of the list has the id {first}; \
                 give all databases of one fleet, in the order in which their first one is first"
            )),
            None => refused(
                "it has names or tenants of its own, and only an empty database can be added to others; give another one".to_owned(),
            ),
        }
    }

    /// Has those join that could not, until all have.
    pub(super) async fn join_later(&self) {
        let mut is_told = false;
        loop {
            tokio::time::sleep(AGAIN).await;
            match self.join().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::error!(%error, "a database of names.url is not used, and its tenants are not served");
                }
                Err(_) => {}
            }
        }
    }

    /// Returns the database with this id.
    pub(super) fn with_id(&self, id: &str) -> Option<&Arc<Member>> {
        self.all.iter().find(|member| member.id.lock().as_deref() == Some(id))
    }

    /// Returns the ids of those that have joined, in the order of the list.
    pub(super) fn ids(&self) -> Vec<String> {
        self.all.iter().filter_map(|member| member.id()).collect()
    }
}

impl Member {
    fn id(&self) -> Option<String> {
        self.id.lock().clone()
    }
}

fn not_several(several: &[NamesUrl]) -> OpenError {
    OpenError::Url {
        url: NamesUrl::Several(several.to_vec()).to_string(),
        reason: "each must be postgres://host/database".to_owned(),
    }
}
