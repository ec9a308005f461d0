//! The signals that an operator sends: SIGTERM and SIGINT end the process, SIGHUP reloads the configuration.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::shutdown::Ending;

/// Begins the shutdown at the first SIGTERM or SIGINT. A second one ends the process at once, code 1: who sends it does
/// not want to wait for the deadline.
pub fn end_on_signals(ending: &Arc<Ending>) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ending = ending.clone();
    // Not a task of a stage: it must outlive all of them to see the second signal, and holds nothing.
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "shutting down");
        ending.request();
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "second signal, ending at once");
        std::process::exit(1);
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// The requests to reload: each `recv` is one SIGHUP (several in quick succession may count as one).
pub fn reload_requests() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
