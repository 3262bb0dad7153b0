//! Calls in the sandbox of the host, each in a fresh instance.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use namelock_names::Names;
use namelock_sandbox::{CallError, Context, Handler, Powers, Sandbox, SandboxConfig, Tenant};

use crate::forgetful::Forgetful;
use crate::stage::{self, Answer, OWNER};
use crate::told::FirstAnswers;

/// How often a component is loaded from the cache. The median is told.
const LOADS: usize = 5;

/// Says of a trap that the sandbox has refused what the component returned.
const MADE_UP: &str = "never gave to this call";

/// A component that is called in a fresh instance each time. Clones share it.
#[derive(Clone)]
pub struct Fresh {
    handler: Handler,
    powers: Powers,
    tenant: Arc<Tenant>,
    answer: Answer,
}

impl Fresh {
    /// Loads a component into a sandbox as the host has it by default. What is compiled is kept in `folder`.
    ///
    /// # Errors
    ///
    /// It cannot be loaded.
    pub async fn load(component: &Path, folder: &Path, answer: Answer) -> anyhow::Result<Self> {
        Self::load_with(component, folder, answer, Forgetful::default()).await
    }

    /// The same with other names.
    ///
    /// # Errors
    ///
    /// It cannot be loaded.
    pub async fn load_with(component: &Path, folder: &Path, answer: Answer, names: impl Names) -> anyhow::Result<Self> {
        Self::in_sandbox(&sandbox(folder)?, component, answer, names).await
    }

    /// Loads a component again and again, and tells how long it takes until it has answered.
    ///
    /// # Errors
    ///
    /// It cannot be loaded, or answers wrongly.
    pub async fn first_answers(
        component: &Path,
        folder: &Path,
        answer: Answer,
    ) -> anyhow::Result<(Self, FirstAnswers)> {
        // Made before any component comes, as in a host that runs.
        let sandbox = sandbox(folder)?;
        let load = async || {
            let begin = Instant::now();
            let loaded = Self::in_sandbox(&sandbox, component, answer, Forgetful::default()).await?;
            loaded.call("the first".to_owned()).await?;
            anyhow::Ok((loaded, begin.elapsed()))
        };
        let (mut loaded, compiled) = load().await?;
        let mut kept = Vec::with_capacity(LOADS);
        for _ in 0..LOADS {
            // Of the component before nothing is left.
            drop(loaded);
            let took;
            (loaded, took) = load().await?;
            kept.push(took);
        }
        kept.sort_unstable();
        let told = FirstAnswers {
            compiled_ms: ms(compiled),
            kept_ms: Some(ms(kept[LOADS / 2])),
        };
        Ok((loaded, told))
    }

    async fn in_sandbox(
        sandbox: &Sandbox,
        component: &Path,
        answer: Answer,
        names: impl Names,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            handler: stage::load(sandbox, fs::read(component)?).await?,
            powers: Powers {
                locks: stage::locks()?,
                names: Arc::new(names),
            },
            tenant: stage::tenant(),
            answer,
        })
    }

    /// Registers a name.
    ///
    /// # Errors
    ///
    /// The component answers something else than it should.
    pub async fn call(&self, name: String) -> anyhow::Result<()> {
        let request = stage::request(name);
        let answered = self
            .handler
            .register(&self.powers, &self.tenant, &Context::new("request-1"), request, None)
            .await;
        match (answered, self.answer) {
            (Ok(written), Answer::Saved) => {
                ensure!(
                    written.registration.owner == OWNER,
                    "it was registered for somebody else"
                );
            }
            (Err(CallError::Trapped(why)), Answer::MadeUp) if why.to_string().contains(MADE_UP) => {}
            (Ok(_), Answer::MadeUp) => bail!("what the component has made up was believed"),
            (Err(error), _) => return Err(error.into()),
        }
        Ok(())
    }
}

fn sandbox(folder: &Path) -> anyhow::Result<Sandbox> {
    Ok(Sandbox::new(&SandboxConfig::default(), stage::compiler(folder)?)?)
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
