//! What is known and what the operator has chosen: everything that a frame is drawn from.
//!
//! What is selected is remembered by what it is, and not by its place: rows move every second, and the lease that is ended has to be
//! the one that was meant.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::answer::{Overview, Plain};
use super::hosts::{News, Wanted};
use super::rows::{self, Fault, Lock, LockSort, Tenant, TenantSort};

/// A host that was asked and says nothing for so long, or for three times `--every`, is shown as one that does not answer.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// The tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    Hosts,
    #[default]
    Tenants,
    Locks,
    Faults,
}

impl Pane {
    pub(super) const ALL: [Self; 4] = [Self::Hosts, Self::Tenants, Self::Locks, Self::Faults];

    pub(super) fn next(self) -> Self {
        Self::ALL[(self.index() + 1) % Self::ALL.len()]
    }

    pub(super) fn previous(self) -> Self {
        Self::ALL[(self.index() + Self::ALL.len() - 1) % Self::ALL.len()]
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// What keys do now.
#[derive(Clone, Debug, Default)]
pub(super) enum Mode {
    #[default]
    Watching,
    /// They are written into the filter.
    Filtering,
    /// They answer whether the lease of this lock is to be ended.
    Confirming(Lock),
    /// The next one closes the help.
    Help,
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) address: SocketAddr,
    overview: Option<Overview>,
    /// When it answered last; before it ever did, when it was asked first.
    answered: Instant,
    /// Why its last answer is none.
    failed: Option<Plain>,
}

/// How a host stands.
#[derive(Debug)]
pub(super) enum Standing<'a> {
    /// It was asked and had no time to answer yet.
    Asked,
    Live(&'a Overview),
    /// It does not answer.
    Silent {
        since: Duration,
        reason: Plain,
    },
}

/// The row that is selected.
#[derive(Clone, Debug, Default)]
struct Mark {
    key: String,
    /// Where it was seen last: the selection stays there if it is gone.
    at: usize,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) hosts: Vec<Host>,
    pub(super) every: Duration,
    pub(super) names: bool,
    pub(super) pane: Pane,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) tenant_sort: TenantSort,
    pub(super) lock_sort: LockSort,
    /// Since when nothing is asked, and what is shown stays.
    pub(super) paused: Option<Instant>,
    /// What is told until the next key.
    pub(super) message: Option<Plain>,
    /// A lease is being ended; only one at a time is.
    pub(super) is_ending: bool,
    marks: [Mark; Pane::ALL.len()],
}

impl Host {
    pub(super) fn standing(&self, now: Instant, every: Duration) -> Standing<'_> {
        let since = now.saturating_duration_since(self.answered);
        let silent = |reason: &Plain| Standing::Silent {
            since,
            reason: reason.clone(),
        };
        match (&self.failed, &self.overview) {
            (Some(reason), _) => silent(reason),
            (None, _) if since > SILENT_AFTER.max(3 * every) => silent(&Plain::new("it was asked and says nothing")),
            (None, None) => Standing::Asked,
            (None, Some(overview)) => Standing::Live(overview),
        }
    }
}

impl Model {
    pub(super) fn new(addresses: &[SocketAddr], every: Duration, names: bool, now: Instant) -> Self {
        let host = |address: &SocketAddr| Host {
            address: *address,
            overview: None,
            answered: now,
            failed: None,
        };
        Self {
            hosts: addresses.iter().map(host).collect(),
            every,
            names,
            pane: Pane::default(),
            mode: Mode::default(),
            filter: String::new(),
            tenant_sort: TenantSort::default(),
            lock_sort: LockSort::default(),
            paused: None,
            message: None,
            is_ending: false,
            marks: Default::default(),
        }
    }

    /// What the hosts are to be asked for.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            tenant: self.filter.clone(),
            sort: self.tenant_sort.key(),
            names: self.names,
            hosts: self.hosts.len(),
        }
    }

    /// Takes up what has come. While it is paused, nothing that is shown changes.
    pub(super) fn hear(&mut self, news: News, now: Instant) {
        let is_paused = self.paused.is_some();
        match news {
            News::Answered { host, overview } if !is_paused => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.overview = Some(*overview);
                    host.answered = now;
                    host.failed = None;
                }
            }
            News::Failed { host, reason } if !is_paused => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.failed = Some(reason);
                }
            }
            News::Answered { .. } | News::Failed { .. } => {}
            News::Ended(Ok(text) | Err(text)) => {
                self.is_ending = false;
                self.message = Some(text);
            }
        }
    }

    /// Stops to ask, or goes on. Hosts are not blamed for the time in which they were not asked.
    pub(super) fn pause(&mut self, now: Instant) {
        match self.paused.take() {
            None => self.paused = Some(now),
            Some(since) => {
                let pause = now.saturating_duration_since(since);
                for host in &mut self.hosts {
                    host.answered += pause;
                }
            }
        }
    }

    /// The time that is shown.
    fn shown_at(&self, now: Instant) -> Instant {
        self.paused.unwrap_or(now)
    }

    pub(super) fn standings(&self, now: Instant) -> impl Iterator<Item = (&Host, Standing<'_>)> {
        let now = self.shown_at(now);
        self.hosts
            .iter()
            .map(move |host| (host, host.standing(now, self.every)))
    }

    /// What those say that answer.
    pub(super) fn live(&self, now: Instant) -> impl Iterator<Item = (usize, &Overview)> {
        let all = self.standings(now).enumerate();
        all.filter_map(|(at, (_, standing))| match standing {
            Standing::Live(overview) => Some((at, overview)),
            Standing::Asked | Standing::Silent { .. } => None,
        })
    }

    pub(super) fn tenants(&self, now: Instant) -> Vec<Tenant> {
        rows::tenants(self.live(now), &self.filter, self.tenant_sort)
    }

    pub(super) fn locks(&self, now: Instant) -> Vec<Lock> {
        rows::locks(self.live(now), &self.filter, self.lock_sort)
    }

    pub(super) fn faults(&self, now: Instant) -> Vec<Fault> {
        rows::faults(self.live(now))
    }

    /// Which of these rows is selected; none: there is no row.
    pub(super) fn selected<'a>(&self, pane: Pane, keys: impl ExactSizeIterator<Item = &'a str>) -> Option<usize> {
        let mark = &self.marks[pane.index()];
        let last = keys.len().checked_sub(1)?;
        let mut keys = keys;
        Some(keys.position(|key| key == mark.key).unwrap_or(mark.at.min(last)))
    }

    /// Selects a row.
    pub(super) fn select(&mut self, pane: Pane, at: usize, key: &str) {
        self.marks[pane.index()] = Mark {
            key: key.to_owned(),
            at,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn model(now: Instant) -> Model {
        let hosts = ["127.0.0.1:1", "127.0.0.1:2"].map(|address| address.parse().unwrap());
        Model::new(&hosts, SECOND, false, now)
    }

    fn answer(host: usize) -> News {
        let overview = Box::new(Overview::read(r#"{"host":{"state":"ready"}}"#).unwrap());
        News::Answered { host, overview }
    }

    fn standing(model: &Model, host: usize, now: Instant) -> String {
        match model.standings(now).nth(host).unwrap().1 {
            Standing::Asked => "asked".to_owned(),
            Standing::Live(_) => "live".to_owned(),
            Standing::Silent { since, reason } => format!("{since:?} {reason}"),
        }
    }

    #[test]
    fn a_host_that_fails_or_says_nothing_is_silent_since_its_last_answer_while_others_are_live() {
        let begin = Instant::now();
        let mut model = model(begin);
        assert_eq!(standing(&model, 0, begin), "asked");
        model.hear(answer(0), begin + SECOND);
        let reason = Plain::new("refused");
        model.hear(News::Failed { host: 1, reason }, begin + SECOND);
        assert_eq!(standing(&model, 0, begin + 2 * SECOND), "live");
        assert_eq!(standing(&model, 1, begin + 2 * SECOND), "2s refused");
        assert_eq!(
            standing(&model, 0, begin + 6 * SECOND),
            "5s it was asked and says nothing"
        );
        assert_eq!(model.live(begin + 6 * SECOND).count(), 0);
        model.hear(answer(1), begin + 6 * SECOND);
        assert_eq!(
            model.live(begin + 6 * SECOND).map(|(at, _)| at).collect::<Vec<_>>(),
            [1]
        );
    }

    #[test]
    fn while_it_is_paused_nothing_changes_and_no_host_is_blamed() {
        let begin = Instant::now();
        let mut model = model(begin);
        model.hear(answer(0), begin);
        model.pause(begin + SECOND);
        model.hear(answer(1), begin + SECOND);
        let reason = Plain::new("refused");
        model.hear(News::Failed { host: 0, reason }, begin + SECOND);
        assert_eq!(standing(&model, 0, begin + 60 * SECOND), "live");
        assert_eq!(standing(&model, 1, begin + 60 * SECOND), "asked");
        model.pause(begin + 60 * SECOND);
        assert_eq!(standing(&model, 0, begin + 61 * SECOND), "live");
    }

    #[test]
    fn a_selection_follows_its_row_and_stays_in_place_when_that_is_gone() {
        let mut model = model(Instant::now());
        let selected = |model: &Model, keys: &[&str]| model.selected(Pane::Locks, keys.iter().copied());
        assert_eq!(selected(&model, &[]), None);
        assert_eq!(selected(&model, &["a", "b"]), Some(0));
        model.select(Pane::Locks, 1, "b");
        assert_eq!(selected(&model, &["b", "a", "c"]), Some(0));
        assert_eq!(selected(&model, &["a", "c", "d"]), Some(1));
        assert_eq!(selected(&model, &["a"]), Some(0));
        assert_eq!(model.selected(Pane::Tenants, ["b", "a"].into_iter()), Some(0));
    }
}
