//! Where an instance is in its life, and where it can go from there.
//!
//! PURE. The state can be changed by [`Lifecycle::take`] alone, and that refuses what cannot be:
//!
//! ```text
//! starting ──ready──▶ ready ──drain──▶ draining ──stop──▶ stopping ──ended──▶ (gone)
//!     └───────drain or stop────────────────────────────────▲
//! ```
//!
//! From each state `ended` leads out: a worker can die at any time.

use crate::view::InstanceState;

/// What happens to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Its worker says that it takes requests.
    Ready,
    /// It shall take no more requests.
    Drain,
    /// It is told to end.
    Stop,
}

/// The state of one instance from the decision to start it until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle(InstanceState);

impl Lifecycle {
    /// Just started.
    #[must_use]
    pub const fn starting() -> Self {
        Self(InstanceState::Starting)
    }

    /// Where it is.
    #[must_use]
    pub const fn state(self) -> InstanceState {
        self.0
    }

    /// Takes a step; false, and nothing changes, if it cannot be taken from here.
    #[must_use]
    pub fn take(&mut self, happening: Happening) -> bool {
        use InstanceState::{Draining, Ready, Starting, Stopping};
        let next = match (self.0, happening) {
            (Starting, Happening::Ready) => Ready,
            (Ready, Happening::Drain) => Draining,
            // There is nothing to finish in what never began.
            (Starting, Happening::Drain | Happening::Stop) | (Draining, Happening::Stop) => Stopping,
            _ => return false,
        };
        self.0 = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Happening::{Drain, Ready, Stop};
    use InstanceState::{Draining, Starting, Stopping};

    /// All states and all happenings: what is not in this table cannot happen.
    #[test]
    fn no_other_transition_exists() {
        let legal = [
            (Starting, Ready, InstanceState::Ready),
            (Starting, Drain, Stopping),
            (Starting, Stop, Stopping),
            (InstanceState::Ready, Drain, Draining),
            (Draining, Stop, Stopping),
        ];
        for state in InstanceState::ALL {
            for happening in [Ready, Drain, Stop] {
                let mut life = Lifecycle(state);
                let taken = life.take(happening);
                let expected = legal.iter().find(|(from, by, _)| (*from, *by) == (state, happening));
                assert_eq!(taken, expected.is_some(), "{state:?} {happening:?}");
                assert_eq!(life.state(), expected.map_or(state, |(_, _, to)| *to), "{state:?} {happening:?}");
            }
        }
    }
}
