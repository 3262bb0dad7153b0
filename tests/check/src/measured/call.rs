//! A call of the component `rooms`, which registers a name, with locks in this process and names that nobody keeps.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use namelock_account::{Account, Budgets};
use namelock_bench_check::round;
use namelock_bench_check::thing::Thing;
use namelock_sandbox::{CallLimits, Powers, Request, Settings, Tenant};

use super::forgetful::Forgetful;
use super::rooms::{self, PATIENCE};

pub(super) async fn measure(folder: &Path) -> anyhow::Result<()> {
    let handler = rooms::load(&rooms::sandbox(folder)?).await?;
    let powers = Powers {
        locks: rooms::locks()?,
        names: Arc::new(Forgetful),
    };
    let tenant = Arc::new(Tenant {
        id: "demo".into(),
        namespace: "demo".into(),
        hold: Duration::ZERO,
        settings: Settings::default(),
        limits: CallLimits {
            wall_time: PATIENCE,
            cpu_time: PATIENCE,
            ..CallLimits::default()
        },
        account: Arc::new(Account::new("demo", &Budgets::default())),
    });
    for round in 0..round::ALL {
        let requests: Vec<_> = (0..Thing::SandboxCall.times())
            .map(|call| request(round, call))
            .collect();
        let mut saved = Vec::with_capacity(requests.len());
        round::boundary();
        for request in requests {
            saved.push(handler.register(&powers, &tenant, "request-1", request, None).await);
        }
        round::boundary();
        for saved in saved {
            ensure!(
                saved?.registration.owner == "ann",
                "it was registered for somebody else"
            );
        }
    }
    Ok(())
}

fn request(round: usize, call: u64) -> Request {
    Request {
        name: format!("Blue Room {round:03} {call:03}"),
        owner: "ann".to_owned(),
        lifetime: Some(Duration::from_secs(3600)),
        attributes: vec![("floor".to_owned(), "2".to_owned())],
    }
}
