//! A memory reader that gives what a test has set.
//!
//! Pure but for one mutex: reads no clock and no device.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::units::{ByteCount, DeviceId};

use super::{DeviceMemory, MemoryReader, Sensors};

/// A scripted reader, and the handle to it: clones share their values.
#[derive(Clone, Debug, Default)]
pub struct FakeMemory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    devices: Vec<DeviceMemory>,
    script: VecDeque<Vec<DeviceMemory>>,
}

impl FakeMemory {
    /// A reader of devices of the given sizes, all of it free.
    #[must_use]
    pub fn new(totals: &[(DeviceId, ByteCount)]) -> Self {
        let devices = totals.iter().map(|&(device, total)| DeviceMemory {
            device,
            name: device.to_string(),
            uuid: None,
            total,
            used: ByteCount::ZERO,
            free: total,
            used_by_self: Some(ByteCount::ZERO),
            by_process: Vec::new(),
            sensors: Sensors::default(),
        });
        let state = State { devices: devices.collect(), script: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sets what `device` has in use, at most its total. Does nothing to a device that is not there.
    pub fn set_used(&self, device: DeviceId, used: ByteCount) {
        self.update(device, |memory| {
            memory.used = used.min(memory.total);
            memory.free = memory.total.saturating_sub(used);
        });
    }

    /// Sets what this process uses of `device`; leaves the device's own sums alone.
    pub fn set_used_by_self(&self, device: DeviceId, used: Option<ByteCount>) {
        self.update(device, |memory| memory.used_by_self = used);
    }

    /// Sets what worker processes use of `device`; leaves its own sums alone.
    pub fn set_by_process(&self, device: DeviceId, used: &[(u32, ByteCount)]) {
        self.update(device, |memory| memory.by_process = used.to_vec());
    }

    /// Makes `device` unreadable from now on.
    pub fn remove(&self, device: DeviceId) {
        self.lock().devices.retain(|memory| memory.device != device);
    }

    /// Sets all devices.
    pub fn replace(&self, devices: Vec<DeviceMemory>) {
        self.lock().devices = devices;
    }

    /// Adds a reading that a later `read` makes current, one reading for each `read` in this order.
    pub fn then(&self, devices: Vec<DeviceMemory>) {
        self.lock().script.push_back(devices);
    }

    fn update(&self, device: DeviceId, change: impl FnOnce(&mut DeviceMemory)) {
        if let Some(memory) = self.lock().devices.iter_mut().find(|memory| memory.device == device) {
            change(memory);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single step, so a panic elsewhere cannot have left the values half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryReader for FakeMemory {
    fn read(&mut self, _workers: &[u32]) -> Vec<DeviceMemory> {
        let mut state = self.lock();
        if let Some(next) = state.script.pop_front() {
            state.devices = next;
        }
        state.devices.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: DeviceId = DeviceId::Gpu(0);

    #[test]
    fn a_clone_sets_what_the_reader_reads() {
        let handle = FakeMemory::new(&[(DeviceId::Host, ByteCount(100)), (GPU, ByteCount(50))]);
        let mut reader: Box<dyn MemoryReader> = Box::new(handle.clone());
        handle.set_used(GPU, ByteCount(20));
        handle.set_used_by_self(GPU, None);
        let devices = reader.read(&[]);
        assert_eq!((devices[0].free, devices[1].free), (ByteCount(100), ByteCount(30)));
        assert_eq!(devices[1].used_by_self, None);
        handle.set_used(GPU, ByteCount(70));
        assert_eq!((reader.read(&[])[1].used, reader.read(&[])[1].free), (ByteCount(50), ByteCount::ZERO));
        handle.remove(GPU);
        assert_eq!(reader.read(&[]).len(), 1);
    }

    #[test]
    fn a_script_plays_once_and_its_last_reading_stays() {
        let mut reader = FakeMemory::new(&[(GPU, ByteCount(10))]);
        let mut script = reader.read(&[]);
        script[0].free = ByteCount(4);
        reader.then(script.clone());
        script[0].free = ByteCount(2);
        reader.then(script);
        let free: Vec<u64> = (0..3).map(|_| reader.read(&[])[0].free.0).collect();
        assert_eq!(free, [4, 2, 2]);
    }
}
