//! A minimal host: loads one component, and registers one name with it.

use std::error::Error;
use std::io::{stdin, stdout};
use std::sync::Arc;
use std::time::Duration;

use namelock_account::{Account, Budgets};
use namelock_lock::{LockConfig, LockUrl, Locks};
use namelock_names::{NamesConfig, NamesUrl};
use namelock_sandbox::compiler::{self, ChildConfig, Effort};
use namelock_sandbox::{
    CacheConfig, CallLimits, CompilerConfig, Context, Powers, Request, Sandbox, SandboxConfig, Settings, Tenant, Wasm,
};

fn main() -> Result<(), Box<dyn Error>> {
    // The sandbox compiles a component by starting this very program again.
    if let Some(child) = ChildConfig::from_args(std::env::args().skip(1)) {
        return Ok(compiler::compile(&child, stdin().lock(), stdout().lock())?);
    }
    let component = std::env::args().nth(1);
    let component = component.as_deref().unwrap_or(namelock_test_artifacts::ROOMS);
    tokio::runtime::Runtime::new()?.block_on(register(component))
}

async fn register(component: &str) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;

    // What a handler is given: locks inside this process, and names in a file.
    let names = NamesUrl::Sqlite(dir.path().join("names.db"));
    let powers = Powers {
        locks: Locks::open(&LockUrl::Memory, LockConfig::default())?,
        names: namelock_names::open(&names, NamesConfig::default()).await?,
    };

    // One sandbox for the process, and one handler for each component.
    let config = SandboxConfig {
        instances: 10,
        ..SandboxConfig::default()
    };
    let compiler = CompilerConfig {
        cache: CacheConfig {
            dir: dir.path().join("cache"),
            files: 10,
            bytes: 1 << 30,
        },
        ..CompilerConfig::default()
    };
    let sandbox = Sandbox::new(&config, compiler)?;
    // Every call runs in an instance of its own.
    let tenant = Arc::new(Tenant {
        id: "demo".into(),
        namespace: "demo".into(),
        hold: Duration::ZERO,
        settings: Settings::default(),
        limits: CallLimits::default(),
        account: Arc::new(Account::new("demo", &Budgets::default())),
        feed: Arc::default(),
    });
    let (permit, wasm) = (sandbox.compiler().await, Wasm::new(std::fs::read(component)?));
    let handler = sandbox
        .compile(permit, &wasm, 128 << 20, &tenant.account, Effort::Full)
        .await?
        .handler;
    let request = Request {
        name: "blue room".to_owned(),
        owner: "ann".to_owned(),
        lifetime: Some(Duration::from_secs(3600)),
        attributes: Vec::new(),
    };
    let saved = handler
        .register(&powers, &tenant, &Context::new("request-1"), request.clone(), None)
        .await?;
    let registration = saved.registration;
    println!("{} belongs to {}", registration.name, registration.owner);

    // The name is taken now.
    let refusal = handler
        .register(&powers, &tenant, &Context::new("request-2"), request, None)
        .await;
    println!("again: {}", refusal.err().ok_or("the name was registered twice")?);

    powers.names.close().await;
    powers.locks.close(Duration::from_secs(1)).await;
    Ok(())
}
