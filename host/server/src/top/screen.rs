//! The terminal, which is given back as it was however this ends.
//!
//! What is changed of it is undone when [`Screen`] is dropped, before a panic is told, and when a signal comes. A signal is seen
//! between two frames; if that takes too long, because the terminal is gone or stands still, the process ends anyway: crossterm reads
//! a terminal that is gone for ever.

use std::io::{self, Stdout, Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::Rect;
use tokio::signal::unix::{SignalKind, signal};

/// How long a frame may take after a signal.
const LAST_FRAME: Duration = Duration::from_secs(1);

/// What makes the process end before an operator says so.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    /// SIGTERM, SIGINT or SIGHUP has come.
    signalled: Arc<AtomicBool>,
    /// A thread has panicked, and the terminal was given back to tell why.
    panicked: Arc<AtomicBool>,
}

/// The terminal, while frames are drawn.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl End {
    /// Waits for signals from now on.
    pub(super) fn catch() -> io::Result<Self> {
        let end = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut terminate, mut interrupt, mut hangup) = {
            let _context = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        let signalled = Arc::clone(&end.signalled);
        // It ends with the process.
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {}
                }
            });
            signalled.store(true, Ordering::Relaxed);
            thread::sleep(LAST_FRAME);
            // In a thread of its own: nobody may read what it writes.
            thread::spawn(give_back);
            thread::sleep(LAST_FRAME);
            std::process::exit(0);
        })?;
        Ok(end)
    }

    pub(super) fn has_come(&self) -> bool {
        self.signalled.load(Ordering::Relaxed) || self.panicked.load(Ordering::Relaxed)
    }

    /// Whether it was none that anybody has asked for.
    pub(super) fn is_panic(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn take(end: &End) -> io::Result<Self> {
        let panicked = Arc::clone(&end.panicked);
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            panicked.store(true, Ordering::Relaxed);
            give_back();
            tell(panic);
        }));
        enable_raw_mode()?;
        let terminal = execute!(stdout(), EnterAlternateScreen, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match terminal {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Draws a frame.
    pub(super) fn draw(&mut self, frame: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|of| frame(of.area(), of.buffer_mut())).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Makes the terminal what it was; done again it changes nothing.
fn give_back() {
    // There is nobody to tell if the terminal is gone.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = stdout().flush();
}
