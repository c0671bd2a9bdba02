//! Newtypes for time, memory and identity, so that signatures say what they mean.
//!
//! Pure values only. Everything else in the crate may import this module; it imports nothing.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the server's own clock: the time since the process began.
///
/// Decisions take it as an argument, so that they never read a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The moment `since_start` after the clock began.
    #[must_use]
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The moment `millis` milliseconds after the clock began.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Time since the clock began.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier))
    }
}

/// An amount of memory in bytes. Reads and prints as `64MiB`, `1.5GiB` or a plain number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// Zero bytes.
    pub const ZERO: Self = Self(0);

    /// `count` mebibytes.
    #[must_use]
    pub const fn from_mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The share `fraction` (0 to 1) of this amount, rounded down.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of memory needs no more than 52 bits, and is never negative"
    )]
    pub fn fraction(self, fraction: f64) -> Self {
        Self((self.0 as f64 * fraction.clamp(0.0, 1.0)) as u64)
    }
}

impl Add for ByteCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for ByteCount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// Suffixes that [`ByteCount`] reads, with their factors; `B` is last because the others end with it.
const BYTE_SUFFIXES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ByteCount {
    type Err = String;

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes are written with few digits; the sign is checked"
    )]
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (number, factor) = BYTE_SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
            .unwrap_or((text, 1));
        let error = || format!("{text:?} is not an amount of memory; write for example 512MiB or 2GiB");
        let number: f64 = number.trim().parse().map_err(|_| error())?;
        let bytes = number * factor as f64;
        if !bytes.is_finite() || bytes < 0.0 || bytes >= u64::MAX as f64 {
            return Err(error());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for ByteCount {
    #[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut amount = self.0 as f64;
        let mut unit = 0;
        while amount >= 1024.0 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        if unit == 0 || (amount - amount.round()).abs() < 0.05 {
            write!(f, "{amount:.0} {}", UNITS[unit])
        } else {
            write!(f, "{amount:.1} {}", UNITS[unit])
        }
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a validated name.
            #[must_use]
            pub fn new(name: &str) -> Self {
                Self(name.into())
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

named!(
    /// The name that a client asks for in `"model"`.
    ModelName
);
named!(
    /// What an API key is called in the file of keys, in metrics and in logs; never the key itself.
    KeyName
);

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

numbered!(
    /// One llama.cpp context in a worker. Never reused within a run of the server.
    InstanceId,
    "i"
);
numbered!(
    /// One holder of a variant's weights on one device set. Never reused within a run.
    WorkerId,
    "w"
);

/// Where an instance's memory is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeviceId {
    /// The host's memory; the CPU computes.
    Host,
    /// The GPU with this NVML index.
    Gpu(u32),
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Gpu(index) => write!(f, "gpu{index}"),
        }
    }
}

/// Where an instance lies: on the host, on one GPU, or on several GPUs of which each holds a part.
///
/// A bit for each device, the host's first; so there can be GPUs 0 to 62.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceSet(u64);

impl DeviceSet {
    /// The host.
    pub const HOST: Self = Self(1);
    /// GPUs that can be told apart; llama.cpp knows no more than 16.
    pub const MAX_GPUS: u32 = 63;

    /// The devices of this set, the host first, then GPUs by number.
    pub fn iter(self) -> impl Iterator<Item = DeviceId> {
        let device = |bit: u32| bit.checked_sub(1).map_or(DeviceId::Host, DeviceId::Gpu);
        (0..u64::BITS).filter(move |bit| self.0 >> bit & 1 == 1).map(device)
    }

    /// Whether a device is one of them.
    #[must_use]
    pub const fn contains(self, device: DeviceId) -> bool {
        self.0 & Self::bit(device) != 0
    }

    /// How many devices they are.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn bit(device: DeviceId) -> u64 {
        match device {
            DeviceId::Host => 1,
            DeviceId::Gpu(number) => {
                assert!(number < Self::MAX_GPUS, "GPUs are bounded where they are named");
                2 << number
            }
        }
    }
}

impl From<DeviceId> for DeviceSet {
    fn from(device: DeviceId) -> Self {
        Self(Self::bit(device))
    }
}

impl FromIterator<DeviceId> for DeviceSet {
    fn from_iter<I: IntoIterator<Item = DeviceId>>(devices: I) -> Self {
        Self(devices.into_iter().fold(0, |bits, device| bits | Self::bit(device)))
    }
}

impl fmt::Display for DeviceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, device) in self.iter().enumerate() {
            write!(f, "{}{device}", if number > 0 { "+" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for DeviceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_devices_list_what_was_put_in() {
        let all = [DeviceId::Host, DeviceId::Gpu(0), DeviceId::Gpu(62)];
        let set: DeviceSet = all.into_iter().collect();
        assert!(set.iter().eq(all) && set.len() == 3 && !set.contains(DeviceId::Gpu(1)));
        assert_eq!(set.to_string(), "host+gpu0+gpu62");
        assert_eq!(DeviceSet::from(DeviceId::Host), DeviceSet::HOST);
    }

    #[test]
    fn byte_counts_read_what_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("64MiB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("2 GB", 2_000_000_000),
            ("10B", 10),
        ] {
            assert_eq!(text.parse(), Ok(ByteCount(bytes)), "{text}");
        }
        for text in ["", "MiB", "-1", "1e40", "NaN", "5 apples"] {
            assert!(text.parse::<ByteCount>().is_err(), "{text}");
        }
    }

    #[test]
    fn byte_counts_print_with_one_decimal_at_most() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (64 << 20, "64 MiB"), (3 << 29, "1.5 GiB")] {
            assert_eq!(ByteCount(bytes).to_string(), text);
        }
    }

    #[test]
    fn time_never_runs_backwards() {
        let early = Timestamp::from_millis(10);
        let late = Timestamp::from_millis(25);
        assert_eq!(late.since(early), Duration::from_millis(15));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early - Duration::from_secs(1), Timestamp::default());
    }
}
