//! A call of the component `rooms`, which registers a name, with locks in this process and names that nobody keeps.

use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use namelock_bench_check::round;
use namelock_bench_check::thing::Thing;
use namelock_calls::forgetful::Forgetful;
use namelock_calls::stage::{self, OWNER};
use namelock_sandbox::{Context, Powers};

use super::rooms;

pub(super) async fn measure(folder: &Path) -> anyhow::Result<()> {
    let handler = rooms::load(&rooms::sandbox(folder)?).await?;
    let powers = Powers {
        locks: stage::locks()?,
        names: Arc::new(Forgetful::default()),
    };
    let tenant = stage::tenant();
    for round in 0..round::ALL {
        let requests: Vec<_> = (0..Thing::SandboxCall.times())
            .map(|call| stage::request(format!("Blue Room {round:03} {call:03}")))
            .collect();
        let mut saved = Vec::with_capacity(requests.len());
        round::boundary();
        for request in requests {
            saved.push(
                handler
                    .register(&powers, &tenant, &Context::new("request-1"), request, None)
                    .await,
            );
        }
        round::boundary();
        for saved in saved {
            ensure!(
                saved?.registration.owner == OWNER,
                "it was registered for somebody else"
            );
        }
    }
    Ok(())
}
