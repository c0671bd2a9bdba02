//! Reads how much memory the control groups of this process leave to it.
//!
//! Reads only files under a root folder, so that tests give it a tree of their own. A process is bound
//! by its own group and by every group above it. Rules: `Documentation/admin-guide/cgroup-v2.rst` and
//! `cgroup-v1/memory.rst` in the Linux sources. Groups are looked for where every distribution mounts
//! them, under `/sys/fs/cgroup`, and once: a process that is moved later keeps the old groups' limits.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The groups that bind this process, from its own to the topmost.
pub(super) struct Cgroups {
    groups: Vec<PathBuf>,
    files: &'static Files,
}

/// What the tightest groups allow, in bytes; `None` where no group sets a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowance {
    /// The lowest limit.
    pub limit: Option<u64>,
    /// The least that is left below a limit.
    pub free: Option<u64>,
}

/// Where a version of the interface keeps its figures.
struct Files {
    mount: &'static str,
    /// Limits in bytes. The kernel throttles a v2 group above `memory.high` until it hardly runs.
    limits: &'static [&'static str],
    usage: &'static str,
    /// The line of `memory.stat` with the group's and its descendants' inactive file pages, which the
    /// kernel takes back before it refuses memory.
    reclaimable: &'static str,
}

const V1: Files = Files {
    mount: "sys/fs/cgroup/memory",
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};
const V2: Files = Files {
    mount: "sys/fs/cgroup",
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    reclaimable: "inactive_file",
};

impl Cgroups {
    /// Finds the groups named in `proc/self/cgroup` under `root`; none if it cannot be read.
    pub(super) fn discover(root: &Path) -> Self {
        let membership = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let Some((files, own)) = memory_group(&membership) else {
            return Self { groups: Vec::new(), files: &V2 };
        };
        let mount = root.join(files.mount);
        // In a container the path may be the host's and lead nowhere here; the container's own group is
        // then the mount itself, which is among the ancestors.
        let groups = ancestors(own).into_iter().map(|group| mount.join(group));
        let groups = groups.filter(|group| files.limits.iter().any(|limit| group.join(limit).exists()));
        Self { groups: groups.collect(), files }
    }

    /// What the groups allow now. Limits of `host_bytes` or more bind no one and count as none.
    pub(super) fn allowance(&self, host_bytes: u64) -> Allowance {
        let mut tightest = Allowance::default();
        for group in &self.groups {
            let limits = self.files.limits.iter().filter_map(|file| read_number(&group.join(file)));
            let Some(limit) = limits.min().filter(|limit| *limit < host_bytes) else { continue };
            tightest.limit = Some(tightest.limit.map_or(limit, |lowest| lowest.min(limit)));
            let Some(usage) = read_number(&group.join(self.files.usage)) else { continue };
            let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
            let reclaimable = stat_value(&stat, self.files.reclaimable).unwrap_or(0);
            let free = limit.saturating_sub(usage.saturating_sub(reclaimable));
            tightest.free = Some(tightest.free.map_or(free, |least| least.min(free)));
        }
        tightest
    }
}

/// The interface that accounts for memory, and this process's group in it.
///
/// Lines read `number:controllers:path`. On a machine with both versions, the one that lists the
/// controller `memory` has it; version 2 has an empty list.
fn memory_group(membership: &str) -> Option<(&'static Files, &str)> {
    let lines = membership.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let mut unified = None;
    for (controllers, path) in lines {
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some((&V1, path));
        }
        if controllers.is_empty() {
            unified = Some((&V2, path));
        }
    }
    unified
}

/// `/a/b` as `a/b`, `a` and the empty path. A path that leads out of the mount is cut off there.
fn ancestors(group: &str) -> Vec<PathBuf> {
    let inside = |component: &Component<'_>| matches!(component, Component::Normal(_));
    let parts = Path::new(group).components().filter(|component| *component != Component::RootDir);
    let path: PathBuf = parts.take_while(inside).collect();
    path.ancestors().map(Path::to_path_buf).collect()
}

/// The number in `path`; `None` if there is none, as in `max`.
fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after `key` in the lines of `memory.stat`.
fn stat_value(stat: &str, key: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `files` into a fresh folder and reads the allowance of a host with 1000 bytes.
    #[track_caller]
    fn check(membership: &str, files: &[(&str, &str)], limit: Option<u64>, free: Option<u64>) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files.iter().chain([&("proc/self/cgroup", membership)]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        assert_eq!(Cgroups::discover(root.path()).allowance(1000), Allowance { limit, free });
    }

    #[test]
    fn the_tightest_group_above_a_process_binds_it() {
        check(
            "0::/user/app\n",
            &[
                ("sys/fs/cgroup/cgroup.controllers", "memory"),
                ("sys/fs/cgroup/user/memory.max", "400\n"),
                ("sys/fs/cgroup/user/memory.current", "390\n"),
                ("sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 40\nactive_file 7\n"),
                ("sys/fs/cgroup/user/app/memory.max", "300\n"),
                ("sys/fs/cgroup/user/app/memory.current", "100\n"),
                ("sys/fs/cgroup/user/app/memory.stat", "inactive_file 0\n"),
            ],
            Some(300),
            Some(50),
        );
    }

    #[test]
    fn a_group_without_a_limit_binds_no_one() {
        let files =
            [("sys/fs/cgroup/app/memory.max", "max\n"), ("sys/fs/cgroup/app/memory.current", "100\n")];
        check("0::/app\n", &files, None, None);
        let files = [("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")];
        check("4:memory:/\n", &files, None, None);
        check("", &[], None, None);
        check("nonsense\n::\n", &[], None, None);
    }

    #[test]
    fn the_soft_limit_binds_where_it_is_lower() {
        let files = [
            ("sys/fs/cgroup/app/memory.max", "500"),
            ("sys/fs/cgroup/app/memory.high", "200"),
            ("sys/fs/cgroup/app/memory.current", "150"),
        ];
        check("0::/app\n", &files, Some(200), Some(50));
    }

    #[test]
    fn version_1_counts_where_it_has_the_memory_controller() {
        let files = [
            ("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "300"),
            ("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "250"),
            ("sys/fs/cgroup/memory/app/memory.stat", "inactive_file 1\ntotal_inactive_file 20\n"),
            ("sys/fs/cgroup/app/memory.max", "1"),
        ];
        check("9:cpu,cpuacct:/other\n4:memory:/app\n0::/app\n", &files, Some(300), Some(70));
    }

    #[test]
    fn in_a_container_the_mount_itself_is_the_group() {
        let files = [("sys/fs/cgroup/memory.max", "300"), ("sys/fs/cgroup/memory.current", "100")];
        check("0::/docker/0123abcd\n", &files, Some(300), Some(200));
        check("0::/../elsewhere\n", &files, Some(300), Some(200));
    }

    #[test]
    fn use_above_the_limit_leaves_nothing() {
        let files = [("sys/fs/cgroup/memory.max", "300"), ("sys/fs/cgroup/memory.current", "301")];
        check("0::/\n", &files, Some(300), Some(0));
    }
}
