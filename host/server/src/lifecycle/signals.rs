//! The signals that a host obeys.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// How a server is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Once balancers have seen that it is not ready any more, as a service manager stops it.
    Announced,
    /// At once, as somebody at a terminal does.
    AtOnce,
}

/// Catches SIGTERM and SIGINT from now on; each call of the returned function waits for the next of them.
pub fn stop_signals() -> io::Result<impl AsyncFnMut() -> Stop> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move || {
        tokio::select! {
            _ = terminate.recv() => {
                tracing::info!(signal = "SIGTERM", "told to stop");
                Stop::Announced
            }
            _ = interrupt.recv() => {
                tracing::info!(signal = "SIGINT", "told to stop");
                Stop::AtOnce
            }
        }
    })
}

/// Catches SIGHUP from now on; each call of the returned function waits for the next one.
pub fn reload_signal() -> io::Result<impl AsyncFnMut()> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move || {
        hangup.recv().await;
    })
}
