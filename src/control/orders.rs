//! What an operator wants of a model, besides its policy. PURE.
//!
//! A pin holds instances until it is taken back. A load holds them as long as an idle model is kept after its last
//! request. An unload lets all go and holds none until somebody asks. The latest of load and unload counts; an unload also
//! takes back a pin, and a pin an unload.

use std::time::Duration;

use crate::units::Timestamp;
use crate::view::{InstanceState, ModelObservation};

/// One order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Hold at least so many instances for `hold` after they are there.
    Load {
        /// How many.
        instances: u32,
        /// How long.
        hold: Duration,
    },
    /// Let all instances go, and start none until somebody asks.
    Unload,
    /// Hold at least so many instances.
    Pin {
        /// How many.
        instances: u32,
        /// Of this variant alone.
        variant: Option<usize>,
    },
    /// No more.
    Unpin,
}

/// The orders that hold for one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    pin: Option<(u32, Option<usize>)>,
    load: Option<Load>,
    unload: Option<Unload>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    instances: u32,
    hold: Duration,
    /// Once they are there.
    until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unload {
    /// The instances are still to be told.
    Ordered,
    /// They were; nobody has asked since.
    Told,
}

impl Orders {
    /// Follows an order from now on.
    pub fn take(&mut self, order: Order) {
        match order {
            Order::Load { instances, hold } => {
                self.load = Some(Load { instances, hold, until: None });
                self.unload = None;
            }
            Order::Unload => *self = Self { unload: Some(Unload::Ordered), ..Self::default() },
            Order::Pin { instances, variant } => {
                self.pin = Some((instances, variant));
                self.unload = None;
            }
            Order::Unpin => self.pin = None,
        }
    }

    /// Looks how the model is doing, so that a load ends in time.
    pub fn look(&mut self, model: &ModelObservation, now: Timestamp) {
        let Some(load) = &mut self.load else { return };
        let count = |state| model.instances.iter().filter(|instance| instance.state == state).count();
        // As many as can be had at present.
        let there = count(InstanceState::Ready) > 0 && count(InstanceState::Starting) == 0;
        if there && load.until.is_none() {
            load.until = Some(now + load.hold);
        }
        if load.until.is_some_and(|until| until <= now) {
            self.load = None;
        }
    }

    /// The least instances to hold; `None` if nobody ordered any.
    #[must_use]
    pub fn least(&self) -> Option<u32> {
        let loaded = self.load.map(|load| load.instances);
        self.pin.map(|(instances, _)| instances).max(loaded)
    }

    /// The variant that alone may serve.
    #[must_use]
    pub fn variant(&self) -> Option<usize> {
        self.pin.and_then(|(_, variant)| variant)
    }

    /// Another policy numbers the variants anew; one that is gone is no longer pinned.
    pub fn renumber(&mut self, new: impl Fn(usize) -> Option<usize>) {
        if let Some((_, variant)) = &mut self.pin {
            *variant = variant.and_then(new);
        }
    }

    /// Whether the model is to have nothing. The first time after the order that is so whoever waits; then until somebody
    /// comes.
    pub fn keep_unloaded(&mut self, model: &ModelObservation) -> bool {
        match self.unload {
            None => false,
            Some(Unload::Ordered) => {
                self.unload = Some(Unload::Told);
                true
            }
            Some(Unload::Told) => {
                let asked = model.queue.depth > 0 || model.queue.flow.arrivals > 0;
                if asked {
                    self.unload = None;
                }
                !asked
            }
        }
    }
}
