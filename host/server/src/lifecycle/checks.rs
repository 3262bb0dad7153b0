//! Refuses configurations whose parts are valid but not safe together.

use namelock_oci::Puller;

use super::error::RunError;
use crate::config::source::ConfigError;
use crate::config::{AdminConfig, Config, HttpConfig};
use crate::tenants::directory::{self, Candidate};
use crate::tokens::Tokens;
use crate::tokens::right::AdminRight;

/// Whether a tenant without tokens may be served: its callers are on this machine, or the operator has allowed it.
pub(super) fn open_is_allowed(http: &HttpConfig) -> bool {
    http.open || http.listen.ip().to_canonical().is_loopback()
}

/// Refuses to let anybody on the network call a tenant, unless the operator has asked for it.
// Keeps P7: a tenant without tokens does not become public by accident.
pub(crate) fn refuse_open(http: &HttpConfig, candidates: &[Candidate]) -> Result<(), ConfigError> {
    match directory::first_open(candidates) {
        Some(tenant) if !open_is_allowed(http) => {
            let problem = format!(
                "other machines can reach {} and tenant `{tenant}` has no tokens; \
                 make one with `namelock token new`, listen on 127.0.0.1, or pass --open",
                http.listen
            );
            Err(ConfigError::new("http.listen", problem))
        }
        Some(_) | None => Ok(()),
    }
}

/// What settings that are right one by one may not say together.
type Check = fn(&Config) -> Result<(), RunError>;

/// Everything of that kind, with the sections on which it depends.
const CHECKS: [(&[&str], Check); 6] = [
    (&["lock"], refuse_lock),
    (&["oci"], |config| Ok(refuse_roots(config)?)),
    (&["http", "admin"], |config| Ok(refuse_one_port_for_both(config)?)),
    (&["admin"], |config| Ok(refuse_open_admin(&config.admin)?)),
    (&["lock", "names"], |config| Ok(refuse_short_lease(config)?)),
    (&["lock", "names"], |config| Ok(refuse_short_retention(config)?)),
];

/// Refuses what would be refused as soon as the lock service and the database are opened.
///
/// # Errors
///
/// The first of them.
pub(crate) fn refuse_contradictions(config: &Config) -> Result<(), RunError> {
    CHECKS.iter().try_for_each(|(_, check)| check(config))
}

/// Lists all of that which depends on sections alone of which this says that they are known.
pub(crate) fn contradictions(config: &Config, knows: impl Fn(&[&str]) -> bool) -> Vec<RunError> {
    let known = CHECKS.iter().filter(|(sections, _)| knows(sections));
    known.filter_map(|(_, check)| check(config).err()).collect()
}

/// Refuses settings with which the lock service could not be used.
fn refuse_lock(config: &Config) -> Result<(), RunError> {
    let checked = config.lock_service().check(&config.lock_url);
    checked.map_err(|source| RunError::Locks {
        url: config.lock_url.to_string(),
        source,
    })
}

/// Refuses a file of authorities with which no registry could be reached.
fn refuse_roots(config: &Config) -> Result<(), ConfigError> {
    Puller::check_roots(&config.oci).map_err(|problem| ConfigError::new("oci.roots", problem))
}

/// Refuses to let anybody on the network steer the host, unless the operator has asked for it.
// Keeps P7: an admin listener without tokens does not become public by accident.
fn refuse_open_admin(admin: &AdminConfig) -> Result<(), ConfigError> {
    let asks = !admin.tokens.tokens.is_open() || admin.tls.client_roots.is_some();
    if admin.open || asks || admin.listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let problem = format!(
        "other machines can reach {} and no operator has a token; make one with `namelock token new --admin`, listen on \
         127.0.0.1, or pass --admin-open",
        admin.listen
    );
    Err(ConfigError::new("admin.listen", problem))
}

/// Reads the tokens of operators again, and refuses those with which the host would not have started.
pub(super) fn tokens_now(config: &Config) -> Result<Tokens<AdminRight>, ConfigError> {
    let admin = AdminConfig {
        tokens: config.admin_tokens_now()?,
        ..config.admin.clone()
    };
    refuse_open_admin(&admin)?;
    Ok(admin.tokens.tokens)
}

/// Refuses an admin listener where the public one is.
fn refuse_one_port_for_both(config: &Config) -> Result<(), ConfigError> {
    let (public, admin) = (config.http.listen, config.admin.listen);
    let meet = public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
    if public.port() == admin.port() && public.port() != 0 && meet {
        let problem = format!("{admin} is also http.listen, {public}; choose another port for one of them");
        return Err(ConfigError::new("admin.listen", problem));
    }
    Ok(())
}

/// Refuses leases with which the names database could not guard its writes.
// Keeps P5: a lease outlasts a write.
fn refuse_short_lease(config: &Config) -> Result<(), ConfigError> {
    let (lease, deadline) = (config.lock.lease, config.names.deadline(&config.names_url));
    if lease <= deadline {
        let problem = format!(
            "{lease:?} is no longer than a write to the names database may take ({deadline:?}), so nothing could be \
             saved; make it longer, or names.timeout or names.busy_timeout shorter"
        );
        return Err(ConfigError::new("lock.lease", problem));
    }
    Ok(())
}

/// Refuses retention times with which the names database could not guard its writes.
// Keeps P5: the token of a name is not forgotten while an older lease could still write.
fn refuse_short_retention(config: &Config) -> Result<(), ConfigError> {
    let deadline = config.names.deadline(&config.names_url);
    let (retention, max_hold) = (config.names.retention, config.lock.max_hold);
    if retention < max_hold + deadline {
        let problem = format!(
            "{retention:?} is shorter than a lease may be held and still write ({max_hold:?} and {deadline:?}), and \
             the database would forget which tokens are old; make it longer, or lock.max_hold shorter"
        );
        return Err(ConfigError::new("names.retention", problem));
    }
    Ok(())
}
