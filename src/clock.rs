//! The one clock of the server: drivers read it and hand [`Timestamp`]s to decisions.

use tokio::time::Instant;

use crate::units::Timestamp;

/// Measures time since it was made. Follows tokio's clock, so that tests can pause and advance it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the clock was started.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::new(self.start.elapsed())
    }
}
