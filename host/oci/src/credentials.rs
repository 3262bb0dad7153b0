//! Finds the credentials of a registry where `docker login` has left them.
//!
//! A credential helper is a program that the docker config names. It may ask somebody, and so hang: it is waited for no longer
//! than a registry (`oci.read_timeout`), and while one that was not waited for still runs, no other is started.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::OciConfig;
use crate::error::PullError;

/// Longest docker config that is read, in bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// What helpers say when they have nothing (docker-credential-helpers, `errCredentialsNotFoundMessage`).
const NOT_FOUND: &str = "credentials not found";

/// What a registry is asked with.
pub(crate) enum Credential {
    /// A user and a password.
    Password(String, String),
    /// A token that is exchanged for another one.
    Identity(String),
}

/// Asks for credentials, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Credentials(Arc<Semaphore>);

impl Default for Credentials {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Credentials {
    /// The credentials that the docker config has for a registry; none: it has none.
    pub(crate) async fn find(&self, config: &OciConfig, registry: &str) -> Result<Option<Credential>, PullError> {
        let failed = |problem: String| PullError::Credentials {
            config: config.docker_config.clone(),
            problem,
        };
        let within = config.read_timeout;
        let found = timeout(within, async {
            // Kept by the thread: it is given back when the helper has ended, also if nobody waits for it any more.
            let one = Arc::clone(&self.0).acquire_owned().await;
            let (path, registry) = (config.docker_config.clone(), registry.to_owned());
            let find = tokio::task::spawn_blocking(move || {
                let found = find(&path, &registry);
                drop(one);
                found
            });
            find.await.unwrap_or_else(|panic| Err(panic.to_string()))
        });
        match found.await {
            Ok(found) => found.map_err(failed),
            Err(_) => Err(failed(format!(
                "its credential helper does not answer within {within:?}"
            ))),
        }
    }
}

fn find(config: &Path, registry: &str) -> Result<Option<Credential>, String> {
    let mut text = Vec::new();
    match File::open(config) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(file) => file
            .take(CONFIG_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|error| error.to_string())?,
    };
    if text.len() as u64 > CONFIG_MAX {
        return Err(format!("it is longer than {CONFIG_MAX} bytes"));
    }
    // What a helper says is not repeated: it may have the secret in it.
    use CredentialRetrievalError as Wrong;
    match get_credential_from_reader(text.as_slice(), registry) {
        Ok(DockerCredential::UsernamePassword(user, _)) if user.contains(':') => Err("a user has no `:`".to_owned()),
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Some(Credential::Password(user, password))),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credential::Identity(token))),
        Err(Wrong::NoCredentialConfigured | Wrong::ConfigNotFound) => Ok(None),
        Err(Wrong::HelperFailure { stdout, stderr, .. })
            if stdout.contains(NOT_FOUND) || stderr.contains(NOT_FOUND) =>
        {
            Ok(None)
        }
        Err(Wrong::HelperFailure { helper, .. }) => Err(format!("its credential helper {helper:?} fails")),
        Err(Wrong::HelperCommunicationError) => Err("its credential helper cannot be started; install it".to_owned()),
        Err(Wrong::MalformedHelperResponse) => Err("its credential helper answers with something else".to_owned()),
        Err(Wrong::CredentialDecodingError | Wrong::CredentialMismatchError) => Err(format!(
            "what it has for {registry} is wrong; run `docker login {registry}` again"
        )),
        Err(Wrong::ConfigReadError) => Err("it is no docker config".to_owned()),
    }
}
