//! Tells the service manager what becomes of this process (`sd_notify(3)`).
//!
//! A report is queued, and [`Delivery`] sends it: a manager that does not read keeps no request waiting, as the blocking
//! `sd_notify::notify` would. The words, the clock and the watchdog's time are those of that crate.
//!
//! The watchdog is told that the host works only when it does: the sending runs beside the listeners, on the thread that accepts
//! connections, and before each beat another thread of the runtime has to run a task. Where either stands still, so does the
//! watchdog, and the manager starts the host anew.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

use super::Manager;
use crate::lifecycle::Addresses;

/// How many reports wait for a manager that does not read. A host has few: a start, a stop, and two for each reload.
const QUEUE: usize = 16;

/// How far the host has come, as the manager knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It accepts no requests yet.
    Starting,
    /// It accepts requests here.
    Serving(Addresses),
    /// It has been told to stop.
    Stopping,
}

/// Queues reports for the manager; without one they are dropped.
#[derive(Debug)]
pub(crate) struct Reports {
    queue: Option<mpsc::Sender<String>>,
    stage: Mutex<Stage>,
}

/// Sends what was queued, and the beats of the watchdog.
#[derive(Debug)]
pub(crate) struct Delivery {
    to: Option<(OsString, mpsc::Receiver<String>)>,
    watchdog: Option<Duration>,
}

impl Reports {
    /// Begins to report to this manager.
    pub(crate) fn open(manager: &Manager) -> (Self, Delivery) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reports = Self {
            queue: manager.socket.is_some().then_some(sender),
            stage: Mutex::new(Stage::Starting),
        };
        let delivery = Delivery {
            to: manager.socket.clone().map(|socket| (socket, receiver)),
            watchdog: manager.watchdog,
        };
        (reports, delivery)
    }

    /// The lock service and the database are open.
    pub(crate) fn loading(&self) {
        self.tell(&[NotifyState::Status("loading the tenants")]);
    }

    /// Requests are accepted here.
    pub(crate) fn serving(&self, addresses: Addresses) {
        *self.stage.lock() = Stage::Serving(addresses);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&listening(addresses))]);
    }

    /// The tenants are read again. Before the host serves there is nothing that could be loaded again, and a manager would take
    /// the end of it for the end of the start.
    pub(crate) fn reloading(&self) {
        if !matches!(*self.stage.lock(), Stage::Serving(_)) {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => {
                let status = NotifyState::Status("reading the tenants again");
                self.tell(&[NotifyState::Reloading, now, status]);
            }
            // The manager would refuse the word without the time.
            Err(error) => tracing::warn!(%error, "cannot tell the service manager that the tenants are read again"),
        }
    }

    /// The tenants were read again, or could not be and are served as they were.
    pub(crate) fn reloaded(&self, changed: bool) {
        let Stage::Serving(addresses) = *self.stage.lock() else {
            return;
        };
        let mut status = listening(addresses);
        if !changed {
            status += "; the tenants could not be read again, see the log";
        }
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// The host was told to stop.
    pub(crate) fn stopping(&self) {
        *self.stage.lock() = Stage::Stopping;
        self.tell(&[NotifyState::Stopping, NotifyState::Status("finishing what was begun")]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(queue) = &self.queue else {
            return;
        };
        if queue.try_send(text(states)).is_err() {
            tracing::warn!("the service manager does not read what it is told, so it was not told more");
        }
    }
}

impl Delivery {
    /// Sends for as long as it is polled.
    pub(crate) async fn run(self) {
        let Some((socket, mut queue)) = self.to else {
            return std::future::pending().await;
        };
        let fails = AtomicBool::new(false);
        let deliver = async |text: &str| match send(&socket, text).await {
            Ok(()) => fails.store(false, Relaxed),
            // Once, and not with each beat.
            Err(error) if !fails.swap(true, Relaxed) => {
                tracing::warn!(%error, socket = %socket.display(), "cannot tell the service manager of NOTIFY_SOCKET anything");
            }
            Err(_) => {}
        };
        let reports = async {
            while let Some(report) = queue.recv().await {
                deliver(&report).await;
            }
        };
        let beats = async {
            let Some(pause) = pause(self.watchdog) else {
                return;
            };
            loop {
                works().await;
                deliver(&text(&[NotifyState::Watchdog])).await;
                tokio::time::sleep(pause).await;
            }
        };
        tokio::join!(reports, beats);
        std::future::pending().await
    }
}

/// The time between two beats: half of what the manager waits for, as `sd_watchdog_enabled(3)` advises.
fn pause(watchdog: Option<Duration>) -> Option<Duration> {
    watchdog.map(|time| time / 2).filter(|time| !time.is_zero())
}

/// Returns once a thread of the runtime other than that which polls this has run a task.
async fn works() {
    let ran = tokio::spawn(async {}).await;
    if let Err(error) = ran {
        tracing::error!(%error, "a task that does nothing has failed");
    }
}

fn listening(addresses: Addresses) -> String {
    format!("listening on {} (admin {})", addresses.public, addresses.admin)
}

/// The lines of one report.
fn text(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| format!("{state}\n")).collect()
}

/// Connects for each report: a manager that was started again listens on another socket at the same place.
async fn send(to: &OsStr, text: &str) -> io::Result<()> {
    connect(to)?.send(text.as_bytes()).await.map(drop)
}

fn connect(to: &OsStr) -> io::Result<UnixDatagram> {
    let socket = StdDatagram::unbound()?;
    match to.as_bytes().strip_prefix(b"@") {
        // One without a file, as managers in a container have it.
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(to)?,
    }
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::sync::mpsc::channel;
    use std::task::Poll;

    use super::*;
    use crate::lifecycle::Address;

    fn addresses() -> Addresses {
        let at = |socket: &str| Address {
            scheme: "http",
            socket: socket.parse().unwrap(),
        };
        Addresses {
            public: at("127.0.0.1:8080"),
            admin: at("127.0.0.1:8081"),
        }
    }

    /// Reports to a manager that reads, and everything that is queued for it.
    fn open() -> (Reports, impl FnMut() -> Vec<String>) {
        let manager = Manager {
            socket: Some("/nowhere".into()),
            ..Manager::default()
        };
        let (reports, delivery) = Reports::open(&manager);
        let (_, mut queue) = delivery.to.unwrap();
        (reports, move || std::iter::from_fn(|| queue.try_recv().ok()).collect())
    }

    const SERVING: &str = "READY=1\nSTATUS=listening on http://127.0.0.1:8080 (admin http://127.0.0.1:8081)\n";

    #[test]
    fn a_reload_before_the_host_serves_does_not_make_it_ready() {
        let (reports, mut told) = open();
        reports.loading();
        reports.reloading();
        reports.reloaded(true);
        assert_eq!(told(), ["STATUS=loading the tenants\n"]);
        reports.serving(addresses());
        assert_eq!(told(), [SERVING]);
    }

    #[test]
    fn a_reload_is_told_with_its_time_and_a_host_that_stops_is_not_ready_again() {
        let (reports, mut told) = open();
        reports.serving(addresses());
        told();
        reports.reloading();
        reports.reloaded(true);
        let said = told();
        assert!(said[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said:?}");
        assert_eq!(said[1], SERVING);
        reports.reloading();
        reports.reloaded(false);
        assert!(told()[1].ends_with("; the tenants could not be read again, see the log\n"));
        reports.stopping();
        reports.reloading();
        reports.reloaded(true);
        assert_eq!(told(), ["STOPPING=1\nSTATUS=finishing what was begun\n"]);
    }

    // Shows P6: a manager that does not read takes no more than a few lines of memory, and no time.
    #[test]
    fn a_manager_that_does_not_read_keeps_nobody_waiting() {
        let (reports, mut told) = open();
        reports.serving(addresses());
        for _ in 0..100 {
            reports.reloading();
            reports.reloaded(true);
        }
        assert_eq!(told().len(), QUEUE);
    }

    #[test]
    fn a_beat_comes_at_half_of_the_managers_time() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(Some(2 * second)), Some(second));
        assert_eq!(pause(Some(Duration::ZERO)), None);
        assert_eq!(pause(None), None);
    }

    #[test]
    fn the_watchdog_hears_nothing_while_the_runtime_stands_still() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (go_on, stand_still) = channel::<()>();
        let (stands, wait_until_it_stands) = channel();
        let blocked = runtime.spawn(async move {
            stands.send(()).unwrap();
            stand_still.recv().unwrap();
        });
        wait_until_it_stands.recv().unwrap();
        runtime.block_on(async {
            let mut beat = std::pin::pin!(works());
            // Its task cannot have run, however often one looks.
            for _ in 0..1000 {
                let waits = poll_fn(|context| Poll::Ready(beat.as_mut().poll(context).is_pending())).await;
                assert!(waits);
                tokio::task::yield_now().await;
            }
            go_on.send(()).unwrap();
            beat.await;
            blocked.await.unwrap();
        });
    }

    #[tokio::test]
    async fn a_manager_without_a_file_is_told_too() {
        let name = format!("namelock-test-{}", std::process::id());
        let manager = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(format!("@{name}").as_ref(), "READY=1\n").await.unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\n");
    }
}
