//! Finds the tenants of a directory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

use super::error::TenantError;
use super::id::{InvalidTenantId, TenantId};
use super::plan::{Plan, Rules};
use crate::config::source::ConfigError;

/// A tenant whose directory was found, and whose component is not loaded yet.
#[derive(Debug)]
pub struct Candidate {
    pub(super) id: TenantId,
    pub(super) plan: Result<Plan, TenantError>,
}

impl Candidate {
    /// A tenant that is served by this plan.
    pub(crate) fn new(id: TenantId, plan: Plan) -> Self {
        Self { id, plan: Ok(plan) }
    }

    /// A tenant whose plan may be wrong.
    pub(super) fn of(id: TenantId, plan: Result<Plan, TenantError>) -> Self {
        Self { id, plan }
    }

    /// Its id.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// Why the tenant cannot be served, as far as its `tenant.toml` tells.
    pub fn error(&self) -> Option<&TenantError> {
        self.plan.as_ref().err()
    }
}

/// Reads the `tenant.toml` of every tenant in `dir`; anything that is not a tenant's directory is skipped with a
/// warning, but for `cache`, where the host keeps what it has compiled: it may lie there too.
pub fn scan(dir: &Path, rules: &Rules<'_>, cache: &Path) -> Result<Vec<Candidate>, ConfigError> {
    let failed = |error: io::Error| {
        let problem = format!("cannot read the directory of tenants: {error}; create it or pass --tenants DIR");
        ConfigError::new(dir.display().to_string(), problem)
    };
    let cache = cache.canonicalize().ok();
    let mut candidates = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if cache.is_some() && path.canonicalize().ok() == cache {
            continue;
        }
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| TenantId::from_str(name).ok());
        // The type of the entry itself: a link is not followed, because it may lead out of the directory.
        match (id, entry.file_type().map_err(failed)?.is_dir()) {
            (Some(id), true) => candidates.push(Candidate {
                plan: Plan::read(&id, &path, rules),
                id,
            }),
            (Some(_), false) => {
                tracing::warn!(path = %path.display(), "skipped: a tenant is a directory, not a file or a link")
            }
            (None, _) => tracing::warn!(path = %path.display(), "skipped: {InvalidTenantId}"),
        }
    }
    if candidates.is_empty() {
        tracing::warn!(dir = %dir.display(), "no tenants: every call will be answered with unknown_tenant");
    }
    candidates.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    Ok(candidates)
}

/// Reads the `tenant.toml` of these tenants, those of them that have a directory in `dir`.
pub fn scan_these(dir: &Path, rules: &Rules<'_>, tenants: &BTreeSet<TenantId>) -> Vec<Candidate> {
    let candidate = |id: &TenantId| {
        let path = dir.join(id.as_str());
        // As in `scan`: a link is not followed.
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        is_dir.then(|| Candidate {
            plan: Plan::read(id, &path, rules),
            id: id.clone(),
        })
    };
    tenants.iter().filter_map(candidate).collect()
}

/// The first tenant that anybody may call, because it has no tokens.
pub fn first_open(candidates: &[Candidate]) -> Option<&TenantId> {
    let open = |candidate: &&Candidate| candidate.plan.as_ref().is_ok_and(|plan| plan.tokens.is_open());
    candidates.iter().find(open).map(|candidate| &candidate.id)
}

/// Refuses the tenants that anybody on the network could call.
pub fn refuse_open(candidates: &mut [Candidate]) {
    for candidate in candidates {
        if let Ok(plan) = &candidate.plan
            && plan.tokens.is_open()
        {
            let path = plan.component.with_file_name("tenant.toml");
            candidate.plan = Err(TenantError::Open(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    fn scan_with_defaults(dir: &Path) -> Result<Vec<Candidate>, ConfigError> {
        scan_beside(Path::new("none"), dir)
    }

    fn scan_beside(cache: &Path, dir: &Path) -> Result<Vec<Candidate>, ConfigError> {
        let limits = Limits::default();
        let rules = Rules {
            defaults: &limits,
            max: &limits,
            hold_max: std::time::Duration::MAX,
            shared_namespace: &[],
        };
        scan(dir, &rules, cache)
    }

    fn ids(candidates: &[Candidate], of: impl Fn(&&Candidate) -> bool) -> Vec<&str> {
        candidates
            .iter()
            .filter(of)
            .map(|candidate| candidate.id.as_str())
            .collect()
    }

    #[test]
    fn a_missing_directory_is_a_configuration_error() {
        let error = scan_with_defaults(Path::new("/no/such/dir")).unwrap_err().to_string();
        assert!(
            error.starts_with("/no/such/dir: cannot read the directory of tenants: "),
            "{error}"
        );
        assert!(error.ends_with("; create it or pass --tenants DIR"), "{error}");
    }

    #[test]
    fn the_cache_of_the_host_is_no_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("namelock-cache");
        for path in [&cache, &dir.path().join("codes")] {
            fs::create_dir(path).unwrap();
        }
        let found = scan_beside(&cache.join("."), dir.path()).unwrap();
        assert_eq!(ids(&found, |_| true), ["codes"]);
        let found = scan_with_defaults(dir.path()).unwrap();
        assert_eq!(ids(&found, |_| true), ["codes", "namelock-cache"]);
    }

    #[test]
    fn an_entry_that_is_not_a_tenants_directory_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("good")).unwrap();
        fs::create_dir(dir.path().join("Bad")).unwrap();
        fs::write(dir.path().join("readme"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        assert_eq!(ids(&scan_with_defaults(dir.path()).unwrap(), |_| true), ["good"]);
    }

    #[test]
    fn a_tenant_without_a_file_is_a_candidate() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("acme")).unwrap();
        let candidates = scan_with_defaults(dir.path()).unwrap();
        assert_eq!(ids(&candidates, |candidate| candidate.plan.is_ok()), ["acme"]);
    }

    // Shows P7: a tenant that anybody could call is refused.
    #[test]
    fn a_tenant_without_tokens_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let token = format!(
            "[[tokens]]\nname = \"t\"\nsha256 = \"{}\"\nrights = [\"find\"]",
            "0".repeat(64)
        );
        for (tenant, file) in [("bad", "x = 1"), ("closed", token.as_str()), ("open", "")] {
            fs::create_dir(dir.path().join(tenant)).unwrap();
            fs::write(dir.path().join(tenant).join("tenant.toml"), file).unwrap();
        }
        let mut candidates = scan_with_defaults(dir.path()).unwrap();
        assert_eq!(first_open(&candidates).map(TenantId::as_str), Some("open"));
        refuse_open(&mut candidates);
        assert!(first_open(&candidates).is_none());
        let refused = ids(&candidates, |candidate| candidate.plan.is_err());
        assert_eq!(refused, ["bad", "open"]);
    }
}
