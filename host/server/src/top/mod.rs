//! `namelock top`: what one or several hosts do, live in a terminal.
//!
//! It asks `GET /overview` of each host's admin listener, as the page in a browser does, so it shows nothing that the page does not, and
//! an operator needs the same rights.
//!
//! - `answer`: what a host answers, without what a terminal would obey; `hosts`: asks for it, a thread for each host;
//! - `rows`: what several hosts say, put together; `model`: that, and what the operator has chosen;
//! - `keys`: what keys change in it;
//! - `panes`, `grid`, `figures`, `draw`: how it looks;
//! - `screen`: the terminal, which is given back as it was.

mod answer;
mod draw;
mod figures;
mod grid;
mod hosts;
mod keys;
mod model;
mod panes;
mod rows;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, stdout};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event};

use self::answer::Plain;
use self::grid::Look;
use self::hosts::{Hosts, News, look};
use self::keys::Action;
use self::model::Model;
use self::screen::{End, Screen};
use crate::config::source::ConfigError;
use crate::config::units;
use crate::lifecycle::RunError;
use crate::operate::{Access, AdminEnv, HostFlags, all_did, failure};
use crate::output::print;

/// How often hosts can be asked.
const EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3600));

/// For so long a key is waited for before news are looked for.
const TICK: Duration = Duration::from_millis(50);

/// Times that pass are drawn anew so often.
const REDRAW: Duration = Duration::from_secs(1);

/// The arguments of `namelock top`.
#[derive(Args, Debug)]
pub struct TopFlags {
    #[command(flatten)]
    hosts: HostFlags,
    /// How often each host is asked, from 250ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    every: Duration,
    /// Shows the names of locks, too, and not only their digests [right: names]
    #[arg(long)]
    names: bool,
    /// Prints what there is once, as text, and ends
    #[arg(long)]
    once: bool,
}

fn every(text: &str) -> Result<Duration, String> {
    let time = units::time_of_text(text)?;
    if (EVERY.0..=EVERY.1).contains(&time) {
        return Ok(time);
    }
    Err("it is out of range: at least 250ms, at most 1h".to_owned())
}

/// Shows what hosts do, until the operator has seen enough.
///
/// # Errors
///
/// See [`RunError`]; a host that does not answer is an error only with `--once`, and is shown otherwise.
pub fn run(flags: &TopFlags, env: AdminEnv) -> Result<(), RunError> {
    let (hosts, access) = flags.hosts.read(env)?;
    let model = Model::new(&hosts, flags.every, flags.names, Instant::now());
    if flags.once {
        return once(model, &hosts, &access);
    }
    if !stdout().is_terminal() {
        let problem = "standard output is no terminal; pass --once to print what there is once, as text";
        return Err(ConfigError::new("top", problem).into());
    }
    watch(model, hosts, access)
}

/// Asks all hosts once, and prints what they say.
fn once(mut model: Model, hosts: &[SocketAddr], access: &Access) -> Result<(), RunError> {
    let wanted = model.wanted();
    let answers: Vec<_> = thread::scope(|scope| {
        let wanted = &wanted;
        let ask = |host| scope.spawn(move || look(host, access, wanted));
        let asked: Vec<_> = hosts.iter().copied().map(ask).collect();
        let answer = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        asked.into_iter().map(answer).collect()
    });
    let now = Instant::now();
    let mut failed = Vec::new();
    for (host, answer) in answers.into_iter().enumerate() {
        let news = match answer {
            Ok(overview) => News::Answered {
                host,
                overview: Box::new(overview),
            },
            Err(error) => {
                let reason = Plain::new(&error.to_string());
                failed.push(failure(hosts[host], error));
                News::Failed { host, reason }
            }
        };
        model.hear(news, now);
    }
    print(&draw::printed(&model, now))?;
    all_did(failed)
}

/// Draws what there is whenever it changes, and does what keys say.
fn watch(mut model: Model, addresses: Vec<SocketAddr>, access: Access) -> Result<(), RunError> {
    let look = Look {
        // https://no-color.org
        colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let end = End::catch().map_err(RunError::Runtime)?;
    let mut screen = Screen::take(&end).map_err(RunError::Screen)?;
    let hosts = Hosts::start(addresses, access, model.wanted(), model.every).map_err(RunError::Runtime)?;
    let mut drawn: Option<Instant> = None;
    while !end.has_come() {
        for news in hosts.news() {
            if let News::Ended(_) = news {
                hosts.refresh();
            }
            model.hear(news, Instant::now());
            drawn = None;
        }
        if drawn.is_none_or(|at| at.elapsed() >= REDRAW) {
            let now = Instant::now();
            screen
                .draw(|area, buffer| draw::frame(&model, now, look, area, buffer))
                .map_err(RunError::Screen)?;
            drawn = Some(now);
        }
        let mut wait = TICK;
        while !end.has_come() && event::poll(wait).map_err(RunError::Screen)? {
            wait = Duration::ZERO;
            drawn = None;
            if let Event::Key(key) = event::read().map_err(RunError::Screen)? {
                match keys::press(&mut model, key, Instant::now()) {
                    Action::Nothing => hosts.want(&model.wanted(), model.paused.is_some()),
                    Action::Refresh => hosts.refresh(),
                    Action::End { host, id } => hosts.end_lease(host, id).map_err(RunError::Runtime)?,
                    Action::Quit => return Ok(()),
                }
            }
        }
    }
    if end.is_panic() {
        drop(screen);
        let broken = std::io::Error::other("a part of it broke down, as is told above");
        return Err(RunError::Screen(broken));
    }
    Ok(())
}
