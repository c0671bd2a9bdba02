//! Reads the memory of NVIDIA GPUs through NVML; the only user of nvml-wrapper.
//!
//! A machine without the driver is normal and silent. A GPU that fails later (it fell off the bus, say)
//! is left out of the readings, and said to be once. GPUs are numbered as NVML does, in PCI order, which
//! need not be CUDA's order, and `CUDA_VISIBLE_DEVICES` hides none of them here: match by `uuid`.

use std::fmt::Display;
use std::process;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use crate::units::{ByteCount, DeviceId};

use super::{DeviceMemory, MemoryReader, Sensors};

/// Reads all NVIDIA GPUs. Loads the driver's library once, when made.
pub(super) struct NvmlReader {
    nvml: Nvml,
    gpus: Vec<Gpu>,
}

/// What does not change about a GPU, and whether its failure was reported.
struct Gpu {
    index: u32,
    name: String,
    uuid: Option<String>,
    warned: bool,
}

/// What changes about a GPU.
#[derive(Default)]
struct Reading {
    total: ByteCount,
    free: ByteCount,
    used_by_self: Option<ByteCount>,
    by_process: Vec<(u32, ByteCount)>,
    sensors: Sensors,
}

impl NvmlReader {
    /// The reader of this machine's GPUs; `None` without a driver or a GPU.
    pub(super) fn new() -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let count = nvml.device_count().ok().filter(|count| *count > 0)?;
        let gpus = (0..count).map(|index| {
            let device = nvml.device_by_index(index);
            let name = device.as_ref().ok().and_then(|device| device.name().ok());
            let uuid = device.as_ref().ok().and_then(|device| device.uuid().ok());
            Gpu { index, name: name.unwrap_or_else(|| "NVIDIA GPU".to_owned()), uuid, warned: false }
        });
        let gpus = gpus.collect();
        Some(Self { nvml, gpus })
    }
}

impl MemoryReader for NvmlReader {
    fn read(&mut self, workers: &[u32]) -> Vec<DeviceMemory> {
        let nvml = &self.nvml;
        collect(&mut self.gpus, |index| read_gpu(nvml, index, workers))
    }
}

fn read_gpu(nvml: &Nvml, index: u32, workers: &[u32]) -> Result<Reading, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let memory = device.memory_info()?;
    let mut reading = Reading {
        total: ByteCount(memory.total),
        free: ByteCount(memory.free),
        sensors: sensors(&device),
        ..Reading::default()
    };
    // Some drivers and all virtual GPUs list no processes; the rest of the reading still holds.
    let processes = device.running_compute_processes().unwrap_or_default();
    let known = processes.iter().filter_map(|process| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some((process.pid, ByteCount(bytes))),
        UsedGpuMemory::Unavailable => None,
    });
    reading.attribute(known, process::id(), workers);
    Ok(reading)
}

/// What a sensor does not say is left out: not every GPU has each.
fn sensors(device: &Device<'_>) -> Sensors {
    Sensors {
        utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        power_milliwatts: device.power_usage().ok(),
    }
}

impl Reading {
    /// Tells what is ours of what the driver lists. A process may be listed more than once.
    fn attribute(
        &mut self,
        processes: impl IntoIterator<Item = (u32, ByteCount)>,
        own: u32,
        workers: &[u32],
    ) {
        for (pid, bytes) in processes {
            let is_worker = workers.contains(&pid);
            if is_worker {
                match self.by_process.iter_mut().find(|(known, _)| *known == pid) {
                    Some((_, sum)) => *sum += bytes,
                    None => self.by_process.push((pid, bytes)),
                }
            }
            if is_worker || pid == own {
                self.used_by_self = Some(self.used_by_self.unwrap_or_default() + bytes);
            }
        }
    }
}

/// Reads each GPU with `read_one`; leaves out those that fail, and warns of each but once.
fn collect<E: Display>(
    gpus: &mut [Gpu],
    mut read_one: impl FnMut(u32) -> Result<Reading, E>,
) -> Vec<DeviceMemory> {
    let mut devices = Vec::with_capacity(gpus.len());
    for gpu in gpus {
        match read_one(gpu.index) {
            Ok(reading) => devices.push(gpu.memory(reading)),
            Err(error) if !gpu.warned => {
                gpu.warned = true;
                let device = DeviceId::Gpu(gpu.index);
                tracing::warn!(%device, name = gpu.name, %error, "cannot read a GPU's memory; it is left out");
            }
            Err(_) => {}
        }
    }
    devices
}

impl Gpu {
    fn memory(&self, reading: Reading) -> DeviceMemory {
        let free = reading.free.min(reading.total);
        DeviceMemory {
            device: DeviceId::Gpu(self.index),
            name: self.name.clone(),
            uuid: self.uuid.clone(),
            total: reading.total,
            // NVML's own figure leaves out what the driver reserves.
            used: reading.total.saturating_sub(free),
            free,
            used_by_self: reading.used_by_self,
            by_process: reading.by_process,
            sensors: reading.sensors,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(count: u32) -> Vec<Gpu> {
        (0..count).map(|index| Gpu { index, name: format!("g{index}"), uuid: None, warned: false }).collect()
    }

    #[test]
    fn a_machine_without_a_driver_is_no_error() {
        if let Some(mut reader) = NvmlReader::new() {
            assert!(!reader.read(&[]).is_empty(), "a machine with a driver has a readable GPU");
        }
    }

    #[test]
    fn a_gpu_that_fails_is_left_out_and_comes_back() {
        let mut gpus = gpus(2);
        let sound = |index: u32| Reading {
            total: ByteCount(100),
            free: ByteCount(60 + u64::from(index)),
            ..Reading::default()
        };
        let failing = |index| if index == 0 { Err("lost") } else { Ok(sound(index)) };
        for _ in 0..2 {
            let devices = collect(&mut gpus, failing);
            assert_eq!(devices.iter().map(|memory| memory.device).collect::<Vec<_>>(), [DeviceId::Gpu(1)]);
        }
        assert_eq!(gpus.iter().map(|gpu| gpu.warned).collect::<Vec<_>>(), [true, false]);
        let devices = collect(&mut gpus, |index| Ok::<_, &str>(sound(index)));
        assert_eq!((devices.len(), devices[0].used, devices[0].free), (2, ByteCount(40), ByteCount(60)));
    }

    #[test]
    fn only_workers_are_told_apart_and_others_are_left_out() {
        let listed = [(10, 100), (11, 20), (99, 1000), (10, 5), (1, 3)];
        let mut reading = Reading::default();
        reading.attribute(listed.map(|(pid, bytes)| (pid, ByteCount(bytes))), 1, &[10, 11, 12]);
        assert_eq!(reading.by_process, [(10, ByteCount(105)), (11, ByteCount(20))]);
        assert_eq!(reading.used_by_self, Some(ByteCount(128)));

        let mut hidden = Reading::default();
        hidden.attribute([(99, ByteCount(1000))], 1, &[10]);
        assert_eq!((hidden.by_process.len(), hidden.used_by_self), (0, None));
    }
}
