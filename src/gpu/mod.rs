//! Reads how much memory the host and its GPUs have left, and how the GPUs are doing.
//!
//! A driver room: it reads `/proc`, the control groups and NVIDIA's driver, and hands out plain values
//! behind [`MemoryReader`]. It decides nothing. Caller: the control loop's driver, some times a second.
//! `nvml.rs` alone uses nvml-wrapper; `fake.rs` is the reader
//! for tests.

mod cgroup;
mod fake;
mod host;
mod nvml;

use std::num::NonZeroU32;
use std::thread;

use crate::units::{ByteCount, DeviceId};

pub use self::fake::FakeMemory;
use self::host::HostReader;
use self::nvml::NvmlReader;

/// The memory of one device at one moment. `used + free = total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// The device.
    pub device: DeviceId,
    /// What people call it, for example `NVIDIA H200`; `host` for the host.
    pub name: String,
    /// The driver's lasting name for a GPU, for example `GPU-1b2f…`.
    pub uuid: Option<String>,
    /// Memory that there is; for the host, no more than its control groups allow.
    pub total: ByteCount,
    /// Memory in use by anyone, the driver's own reserve included.
    pub used: ByteCount,
    /// Memory that could be taken now without pushing anyone out.
    pub free: ByteCount,
    /// What this process and its workers use of it. `None` where that is unknown: on a GPU also when the driver lists
    /// no process of this number, because it uses nothing there or runs in a container that hides it.
    pub used_by_self: Option<ByteCount>,
    /// What each worker's process uses of a GPU, as far as the driver lists it. Empty for the host: there the weights
    /// are file pages, which no process has for itself.
    pub by_process: Vec<(u32, ByteCount)>,
    /// How a GPU is doing.
    pub sensors: Sensors,
}

/// What a GPU's driver says of it besides memory; `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sensors {
    /// Share of the time in which it computed anything, 0 to 100.
    pub utilization_percent: Option<u32>,
    /// Temperature of the chip.
    pub temperature_celsius: Option<u32>,
    /// Power that it draws.
    pub power_milliwatts: Option<u32>,
}

/// Reads the memory of all devices.
pub trait MemoryReader: Send {
    /// The devices that could be read: the host first, then GPUs by number. A device that cannot be
    /// read is left out, never guessed. `workers`: processes that belong to this one.
    fn read(&mut self, workers: &[u32]) -> Vec<DeviceMemory>;
}

/// The reader of this machine: the host, and the NVIDIA GPUs if there is a driver.
///
/// A host other than Linux has no `/proc`, and the standard library does not know its memory: it is
/// left out there. Without an NVIDIA driver there are no GPUs, and nothing is logged.
#[must_use]
pub fn system() -> Box<dyn MemoryReader> {
    Box::new(System { host: HostReader::new(), gpus: NvmlReader::new() })
}

/// Threads that can compute at the same time, at least 1.
///
/// Respects the process's CPU affinity and its control group's quota, both read now, and ggml's limit
/// (`GGML_MAX_N_THREADS`, 512).
#[must_use]
pub fn cpu_threads() -> NonZeroU32 {
    const GGML_THREADS_MAX: u32 = 512;
    let usable =
        thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    NonZeroU32::new(usable.min(GGML_THREADS_MAX)).unwrap_or(NonZeroU32::MIN)
}

struct System {
    host: HostReader,
    gpus: Option<NvmlReader>,
}

impl MemoryReader for System {
    fn read(&mut self, workers: &[u32]) -> Vec<DeviceMemory> {
        let mut devices = self.host.read(workers);
        if let Some(gpus) = &mut self.gpus {
            devices.append(&mut gpus.read(workers));
        }
        devices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_thread() {
        assert!(cpu_threads().get() >= 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_host_comes_first_and_adds_up() {
        let devices = system().read(&[]);
        assert_eq!(devices[0].device, DeviceId::Host);
        assert!(devices[0].used_by_self.is_some_and(|bytes| bytes > ByteCount::ZERO));
        for device in devices {
            assert!(device.total > ByteCount::ZERO, "{device:?}");
            assert_eq!(device.used + device.free, device.total, "{device:?}");
        }
    }
}
