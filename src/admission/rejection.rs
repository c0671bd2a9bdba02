//! Why a request gets no slot, and when to come back. PURE.

use std::time::Duration;

use crate::units::ModelName;

/// Why a request got no slot. Each says when to come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// As many wait as may.
    #[error("this model's queue is full ({waiting} waiting); try again in {} s", .retry_after.as_secs())]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// When to come back.
        retry_after: Duration,
    },
    /// No slot became free in time.
    #[error("no slot became free within {} ms ({explanation}); try again in {} s", .waited.as_millis(), .retry_after.as_secs())]
    TimedOut {
        /// How long it waited.
        waited: Duration,
        /// What the controller says about the model.
        explanation: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// No slot became free within the time that the client gives, or none can.
    #[error("the request's timeout of {} ms cannot be met: {explanation}; give it more time, or try again in {} s", .timeout.as_millis(), .retry_after.as_secs())]
    Deadline {
        /// The client's time.
        timeout: Duration,
        /// What stands against it.
        explanation: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The model cannot be loaded.
    #[error("the model cannot be loaded: {reason}; try again in {} s", .retry_after.as_secs())]
    CannotLoad {
        /// Why not.
        reason: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The same request ended workers a short while ago.
    #[error(
        "this request ended the workers that served it and is refused for another {} s; change it, or report it \
         with the server's log", .retry_after.as_secs()
    )]
    Quarantined {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// The model is no longer in the policy.
    #[error("the model {model} was removed from the policy")]
    Removed {
        /// Its name.
        model: ModelName,
    },
    /// An operator has let the server drain.
    #[error("the server takes no requests at present, an operator lets it drain; try again in {} s", .retry_after.as_secs())]
    Paused {
        /// When to come back.
        retry_after: Duration,
    },
    /// The server takes nothing new.
    #[error("the server is shutting down; try again in {} s, or ask another one", .retry_after.as_secs())]
    ShuttingDown {
        /// When to come back.
        retry_after: Duration,
    },
}

impl Rejection {
    /// The reason's name in metrics: a closed set.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_full",
            Self::TimedOut { .. } => "queue_timeout",
            Self::Deadline { .. } => "deadline_exceeded",
            Self::CannotLoad { .. } => "model_load_failed",
            Self::Quarantined { .. } => "request_quarantined",
            Self::Removed { .. } => "model_removed",
            Self::Paused { .. } => "draining",
            Self::ShuttingDown { .. } => "shutting_down",
        }
    }

    /// When to come back, if it makes sense to.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after, .. }
            | Self::TimedOut { retry_after, .. }
            | Self::Deadline { retry_after, .. }
            | Self::CannotLoad { retry_after, .. }
            | Self::Quarantined { retry_after }
            | Self::Paused { retry_after }
            | Self::ShuttingDown { retry_after } => Some(*retry_after),
            Self::Removed { .. } => None,
        }
    }
}

/// What a restarted server is given before clients come back.
pub const RESTART_TIME: Duration = Duration::from_secs(5);

/// A time to come back in: whole seconds, at least one, at most a minute.
pub(super) fn whole_seconds(wait: Duration) -> Duration {
    rounded_up(wait).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

pub(super) fn rounded_up(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}
