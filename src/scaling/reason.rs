//! Why a decision was made, with the figures behind it.

use std::fmt;
use std::time::Duration;

use crate::units::{ByteCount, DeviceId, DeviceSet};

/// Why the number of instances changes, or does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Nothing is loaded, and somebody asked.
    ColdStart {
        /// Requests that wait.
        waiting: u32,
    },
    /// The load, as it will be when a load of an instance has ended, needs more slots.
    LoadHigh {
        /// Requests a second, with the trend.
        rate: f64,
        /// Seconds that a request holds a slot.
        service: f64,
        /// Slots needed.
        slots: f64,
    },
    /// What will still wait when a load of an instance has ended needs more slots.
    Backlog {
        /// Requests that wait.
        waiting: u32,
        /// How long the first has waited.
        waited: Duration,
        /// Slots needed.
        slots: f64,
    },
    /// A pattern that has repeated says that the load rises soon.
    Forecast {
        /// Requests a second that it promises.
        rate: f64,
        /// From repeat to repeat.
        period: Duration,
    },
    /// The tokens of answers come too far apart, and on another device they would not.
    ItlHigh {
        /// How far they come apart, on average.
        itl: Duration,
        /// Sequences that shared an instance meanwhile, on average.
        batch: f64,
        /// Sequences that can.
        usable: f64,
    },
    /// Fewer than `min_instances`.
    BelowMinimum {
        /// `min_instances`.
        min_instances: u32,
    },
    /// Fewer than an entry of the schedule asks for at this time.
    Schedule {
        /// The entry's `min_instances`.
        min_instances: u32,
    },
    /// Fewer than an operator wants.
    Ordered {
        /// How many those are.
        instances: u32,
    },
    /// An operator let all instances go, and nobody has asked since.
    Unloaded,
    /// More are needed, and `max_instances` is reached.
    AtMaximum {
        /// `max_instances`.
        max_instances: u32,
    },
    /// Requests wait, and no variant fits into the memory that may be taken.
    NoHeadroom {
        /// Bytes that the smallest start would take.
        needed: ByteCount,
        /// Bytes that may be taken on the device where most are; on all together, if it may be divided.
        available: ByteCount,
    },
    /// Requests wait for memory that instances of other models leave.
    MakingRoom {
        /// Bytes that the start takes.
        needed: ByteCount,
        /// Where.
        devices: DeviceSet,
    },
    /// No variant fits on any device that the model may use, even if nothing else were there.
    NeverFits {
        /// Bytes that the smallest start takes.
        needed: ByteCount,
        /// Bytes that can be taken on the largest device; on all together, if it may be divided.
        capacity: ByteCount,
    },
    /// None of the devices that the policy names is there.
    NoDevice,
    /// Other programs took memory that should stay free.
    Yielding {
        /// Where.
        device: DeviceId,
        /// How much is missing.
        bytes: ByteCount,
    },
    /// A better variant takes the place of a worse one.
    Upgrading,
    /// Requests wait, and each CPU thread already has an instance; another one would only share it.
    CpuSaturated {
        /// Threads there are.
        cpu_threads: u32,
    },
    /// Every variant failed to load and is not tried again yet.
    LoadsFailing {
        /// Time until the next try.
        retry_in: Duration,
    },
    /// Instances of an older policy, file or order give way to new ones.
    Replacing {
        /// How many are left.
        stale: u32,
    },
    /// Nobody asked for as long as an instance is worth keeping.
    Idle {
        /// Time since the last request.
        idle: Duration,
    },
    /// For as long as a load takes, and `scale_down_after`, fewer sufficed.
    LoadFell {
        /// The most that were needed.
        needed: u32,
        /// The time.
        over: Duration,
    },
    /// Nothing to change.
    Steady,
}

impl Reason {
    /// The reason's name in metrics: a closed set.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ColdStart { .. } => "cold_start",
            Self::LoadHigh { .. } => "load_high",
            Self::Backlog { .. } => "backlog",
            Self::Forecast { .. } => "forecast",
            Self::ItlHigh { .. } => "itl_high",
            Self::BelowMinimum { .. } => "below_minimum",
            Self::Schedule { .. } => "schedule",
            Self::Ordered { .. } => "ordered",
            Self::Unloaded => "unloaded",
            Self::AtMaximum { .. } => "at_maximum",
            Self::NoHeadroom { .. } => "no_headroom",
            Self::MakingRoom { .. } => "making_room",
            Self::NeverFits { .. } => "never_fits",
            Self::NoDevice => "no_device",
            Self::Yielding { .. } => "yielding",
            Self::Upgrading => "upgrading",
            Self::CpuSaturated { .. } => "cpu_saturated",
            Self::LoadsFailing { .. } => "loads_failing",
            Self::Replacing { .. } => "replacing",
            Self::Idle { .. } => "idle",
            Self::LoadFell { .. } => "load_fell",
            Self::Steady => "steady",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ColdStart { waiting } => write!(f, "cold start: {waiting} waiting, nothing loaded"),
            Self::LoadHigh { rate, service, slots } => {
                write!(f, "{rate:.2} requests/s of {service:.2} s need {slots:.1} slots")
            }
            Self::Backlog { waiting, waited, slots } => {
                write!(f, "{waiting} waiting for up to {} ms need {slots:.1} slots", waited.as_millis())
            }
            Self::Forecast { rate, period } => {
                write!(f, "{rate:.2} requests/s are due, as every {} s", period.as_secs())
            }
            Self::ItlHigh { itl, batch, usable } => write!(
                f,
                "tokens come {:.0} ms apart with {batch:.1} sequences in an instance; {usable} would keep the target",
                itl.as_secs_f64() * 1e3
            ),
            Self::BelowMinimum { min_instances } => write!(f, "below min_instances ({min_instances})"),
            Self::Schedule { min_instances } => {
                write!(f, "the schedule asks for {min_instances} at this time")
            }
            Self::Ordered { instances } => write!(f, "an operator wants at least {instances} instances"),
            Self::Unloaded => write!(f, "unloaded by an operator until the next request"),
            Self::AtMaximum { max_instances } => write!(f, "at max_instances ({max_instances})"),
            Self::NoHeadroom { needed, available } => {
                write!(f, "no headroom: needs {needed}, {available} may be taken")
            }
            Self::MakingRoom { needed, devices } => {
                write!(f, "others make room on {devices}: {needed} needed")
            }
            Self::NeverFits { needed, capacity } => {
                write!(f, "never fits: needs {needed}, no more than {capacity} can be had")
            }
            Self::NoDevice => write!(f, "none of the policy's devices for this model is there"),
            Self::Yielding { device, bytes } => {
                write!(f, "other programs need {device}: {bytes} of the headroom are gone")
            }
            Self::Upgrading => write!(f, "memory is free: a better variant takes over"),
            Self::CpuSaturated { cpu_threads } => {
                write!(f, "all {cpu_threads} CPU threads have an instance already")
            }
            Self::LoadsFailing { retry_in } => {
                write!(f, "loads are failing; next try in {} s", retry_in.as_secs_f64().ceil())
            }
            Self::Replacing { stale } => {
                write!(f, "{stale} instances of an older policy, file or order give way to new ones")
            }
            Self::Idle { idle } => write!(f, "idle for {} s", idle.as_secs()),
            Self::LoadFell { needed, over } => {
                write!(f, "at most {needed} needed in the last {:.1} s", over.as_secs_f64())
            }
            Self::Steady => write!(f, "steady"),
        }
    }
}
