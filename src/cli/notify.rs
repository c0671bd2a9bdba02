//! Tells systemd how the server is doing, where it asks (`Type=notify`). Elsewhere nothing happens.

use sd_notify::NotifyState;

/// Requests are taken.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What was accepted is finished, and nothing else is taken.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The policy is read again; the process goes on serving meanwhile.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Tells it at half of the time after which systemd would take the server for dead (`WatchdogSec=`), for as long as the
/// runtime gets to it: a server whose tasks hang is restarted.
pub fn keep_alive() {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        loop {
            tell(&[NotifyState::Watchdog]);
            tokio::time::sleep(patience / 2).await;
        }
    });
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
