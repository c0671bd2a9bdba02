//! Reads the host's memory: what the machine has left, and what the control groups leave to this process.
//!
//! Linux only; elsewhere it gives no reading. Reads only files under a root folder, a few small ones
//! each time, so it can be called many times a second. Meaning of the figures: `proc_meminfo(5)` and
//! `proc_pid_status(5)`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::units::{ByteCount, DeviceId};

use super::cgroup::{Allowance, Cgroups};
use super::{DeviceMemory, MemoryReader, Sensors};

/// Reads the host's memory.
pub(super) struct HostReader {
    root: PathBuf,
    cgroups: Cgroups,
    warned: bool,
}

impl HostReader {
    /// The reader of this machine.
    pub(super) fn new() -> Self {
        Self::under(Path::new("/"))
    }

    /// A reader of the files under `root`.
    fn under(root: &Path) -> Self {
        // Other systems have no `/proc`; that they give no reading is documented and worth no warning.
        let warned = cfg!(not(target_os = "linux"));
        Self { root: root.to_path_buf(), cgroups: Cgroups::discover(root), warned }
    }
}

impl MemoryReader for HostReader {
    fn read(&mut self, workers: &[u32]) -> Vec<DeviceMemory> {
        let path = self.root.join("proc/meminfo");
        let meminfo = fs::read_to_string(&path).unwrap_or_default();
        let Some(machine) = Machine::parse(&meminfo) else {
            if !self.warned {
                tracing::warn!(path = %path.display(), "cannot read the host's memory; it is left out");
                self.warned = true;
            }
            return Vec::new();
        };
        let resident = |process: &str| {
            let status = fs::read_to_string(self.root.join("proc").join(process).join("status"));
            kib_value(&status.unwrap_or_default(), "VmRSS")
        };
        let of_workers: u64 = workers.iter().filter_map(|pid| resident(&pid.to_string())).sum();
        let own = resident("self").map(|bytes| bytes.saturating_add(of_workers));
        let allowance = self.cgroups.allowance(machine.total_bytes);
        vec![combine(machine, allowance, own)]
    }
}

/// What the kernel says about the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Machine {
    total_bytes: u64,
    /// The kernel's estimate of what can be taken without swapping; file pages count as available.
    available_bytes: u64,
}

impl Machine {
    fn parse(meminfo: &str) -> Option<Self> {
        let total_bytes = kib_value(meminfo, "MemTotal")?;
        let available_bytes = kib_value(meminfo, "MemAvailable")?;
        Some(Self { total_bytes, available_bytes })
    }
}

/// The machine's memory as far as the control groups let this process have it.
fn combine(machine: Machine, allowance: Allowance, used_by_self: Option<u64>) -> DeviceMemory {
    let total = allowance.limit.unwrap_or(u64::MAX).min(machine.total_bytes);
    let free = allowance.free.unwrap_or(u64::MAX).min(machine.available_bytes).min(total);
    DeviceMemory {
        device: DeviceId::Host,
        name: "host".to_owned(),
        uuid: None,
        total: ByteCount(total),
        used: ByteCount(total - free),
        free: ByteCount(free),
        used_by_self: used_by_self.map(ByteCount),
        by_process: Vec::new(),
        sensors: Sensors::default(),
    }
}

/// The bytes in a line `key:   123 kB`, the form of both `meminfo` and `status`; 1 kB is 1024 bytes there.
fn kib_value(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    600 kB\nBuffers: 9 kB\n";

    fn fixture(files: &[(&str, &str)]) -> (tempfile::TempDir, HostReader) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let reader = HostReader::under(root.path());
        (root, reader)
    }

    #[test]
    fn an_unbound_process_may_take_what_the_machine_has_available() {
        let status = ("proc/self/status", "Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t  12 kB\nVmData: 1 kB\n");
        let (_root, mut reader) = fixture(&[("proc/meminfo", MEMINFO), status]);
        let host = &reader.read(&[])[0];
        assert_eq!((host.total, host.used, host.free), (kib(1000), kib(400), kib(600)));
        assert_eq!((host.device, host.used_by_self), (DeviceId::Host, Some(kib(12))));
    }

    #[test]
    fn a_control_group_lowers_what_there_is() {
        let (root, mut reader) = fixture(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/app\n"),
            ("sys/fs/cgroup/app/memory.max", "512000\n"),
            ("sys/fs/cgroup/app/memory.current", "409600\n"),
            ("sys/fs/cgroup/app/memory.stat", "inactive_file 102400\n"),
        ]);
        let host = &reader.read(&[])[0];
        assert_eq!((host.total, host.used, host.free), (kib(500), kib(300), kib(200)));
        assert_eq!(host.used_by_self, None);

        fs::write(root.path().join("sys/fs/cgroup/app/memory.max"), "max\n").unwrap();
        assert_eq!(reader.read(&[])[0].free, kib(600), "a limit may change while the process runs");
    }

    #[test]
    fn the_machine_may_have_less_left_than_the_group_allows() {
        let machine = Machine { total_bytes: 1000, available_bytes: 100 };
        let host = combine(machine, Allowance { limit: Some(800), free: Some(700) }, None);
        assert_eq!((host.total, host.used, host.free), (ByteCount(800), ByteCount(700), ByteCount(100)));
    }

    #[test]
    fn an_unreadable_host_is_left_out() {
        for meminfo in ["", "MemTotal: 1000 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n", "MemTotal\n"] {
            let (_root, mut reader) = fixture(&[("proc/meminfo", meminfo)]);
            assert_eq!(reader.read(&[]), [], "{meminfo:?}");
        }
    }

    fn kib(count: u64) -> ByteCount {
        ByteCount(count * 1024)
    }
}
