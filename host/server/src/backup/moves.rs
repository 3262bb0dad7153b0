//! `namelock names move` and `namelock names placement`.

use clap::Args;
use namelock_names::placed::{Mover, Step, placements};

use super::database::{DatabaseFlags, tenant};
use super::progress::Progress;
use crate::lifecycle::RunError;
use crate::output::print;

/// The arguments of `namelock names move`.
#[derive(Args, Debug)]
pub(super) struct MoveFlags {
    /// The tenant
    tenant: String,
    /// The database to move it to: its number in the list, or its address as `placement` shows it
    #[arg(
        long,
        value_name = "DATABASE",
        required_unless_present = "back",
        conflicts_with = "back"
    )]
    to: Option<String>,
    /// Undoes a move that was interrupted before the tenant was in its new place
    #[arg(long)]
    back: bool,
    #[command(flatten)]
    database: DatabaseFlags,
}

/// The arguments of `namelock names placement`.
#[derive(Args, Debug)]
pub(super) struct PlacementFlags {
    #[command(flatten)]
    database: DatabaseFlags,
}

pub(super) async fn run(flags: &MoveFlags) -> Result<(), RunError> {
    let tenant = tenant(&flags.tenant)?;
    let config = flags.database.config()?;
    let mut mover = Mover::open(&config.names_url, &config.names, tenant.as_str(), flags.to.as_deref()).await?;
    let mut progress = Progress::new("copied", 0);
    while let Some(step) = mover.next().await? {
        match step {
            Step::Recorded => eprintln!("tenant {tenant} is being moved; its calls are answered names_unavailable"),
            Step::Gated => eprintln!("nobody else writes its names"),
            Step::Cleared => {}
            Step::Copied(done) => progress.at(done),
            Step::Compared(done) => eprintln!("{done} names are copied and the same in both databases"),
            Step::Switched => {}
            Step::Opened => eprintln!("tenant {tenant} is served from its new database"),
            Step::Removed => eprintln!("its rows in the old database are removed"),
            Step::Undone if flags.back => eprintln!("the move is undone: tenant {tenant} is served where it was"),
            Step::Undone => eprintln!("tenant {tenant} is there already"),
        }
    }
    let seconds = progress.end();
    eprintln!("done in {seconds:.1} s");
    Ok(())
}

pub(super) async fn list(flags: &PlacementFlags) -> Result<(), RunError> {
    let config = flags.database.config()?;
    let mut text = String::new();
    for place in placements(&config.names_url, &config.names).await? {
        let state = match (place.moving_to, place.moved_from) {
            (Some(to), _) => format!("being moved to {to}"),
            (None, Some(from)) => format!("moved; what is left in {from} is not removed yet"),
            (None, None) => "there".to_owned(),
        };
        text.push_str(&format!("{}  {}  {state}\n", place.tenant, place.database));
    }
    print(&text)
}
