//! A name is looked for and saved in SQLite, as a call that registers it does, by the threads that read and write the file.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use namelock_bench_check::round;
use namelock_bench_check::thing::Thing;
use namelock_calls::stage::PATIENCE;
use namelock_names::{FencingToken, Keep, ManualTime, NamesConfig, Quota, Save};
use tokio::time::Instant;

pub(super) async fn measure(folder: &Path) -> anyhow::Result<()> {
    let config = NamesConfig {
        // Which of several reads is not the same each time, and each prepares its own statements.
        readers: 1,
        ..NamesConfig::default()
    };
    // Of a clock that goes on, the time is kept now and then.
    let names = namelock_names::open_with_time(&folder.join("names.db"), config, ManualTime::default()).await?;
    for round in 0..round::ALL {
        let saves: Vec<_> = (0..Thing::Names.times()).map(|call| save(round, call)).collect();
        let (mut found, mut saved) = (Vec::with_capacity(saves.len()), Vec::with_capacity(saves.len()));
        round::boundary();
        for save in saves {
            found.push(names.find("demo", &save.name).await);
            saved.push(names.save(save).await);
        }
        round::boundary();
        for (found, saved) in found.into_iter().zip(saved) {
            ensure!(
                found?.is_none() && saved?.owner == "ann",
                "a name was there before it was saved"
            );
        }
    }
    names.close().await;
    Ok(())
}

fn save(round: usize, call: u64) -> Save {
    Save {
        tenant: "demo".to_owned(),
        name: format!("blue room {round:03} {call:03}"),
        owner: "ann".to_owned(),
        lifetime: Some(Duration::from_secs(3600)),
        attributes: vec![("floor".to_owned(), "2".to_owned())],
        fencing_token: FencingToken::new(1_763_900_000_000_000_042),
        deadline: Instant::now() + PATIENCE,
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
        keep: Keep::default(),
    }
}
