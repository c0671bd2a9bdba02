//! SIGTERM and SIGINT, for commands that have something to put in order before they end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a command.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// If the system does not give them.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one.
    pub(super) async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending(SignalKind::terminate()),
            _ = self.interrupt.recv() => Ending(SignalKind::interrupt()),
        }
    }
}

/// A signal that came.
pub(super) struct Ending(SignalKind);

impl Ending {
    pub(super) fn name(&self) -> &'static str {
        if self.0 == SignalKind::terminate() { "SIGTERM" } else { "SIGINT" }
    }

    /// 128 and the signal's number, as shells report a program that a signal ended.
    pub(super) fn exit_code(&self) -> i32 {
        128 + self.0.as_raw_value()
    }
}
