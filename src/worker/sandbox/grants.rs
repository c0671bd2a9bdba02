//! Lists what a worker may open: the system's libraries, what a GPU's driver needs, and its own model files.
//!
//! Only makes the list; enforcing it is `linux`'s part. A path that is not there is left to whoever reads the
//! list. Nothing here may be executed: Landlock asks for that right when a program is started, not when a
//! library is loaded, and the right to start the dynamic loader would be the right to start any readable program.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::Confinement;

/// What may be done with a path and, if it is a folder, with everything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// List folders, not read files.
    List,
    /// Read.
    Read,
    /// Read one file; never a folder.
    ReadOne,
    /// Write to files that exist.
    Write,
    /// Read and write files that exist.
    ReadWrite,
    /// Read, write and control devices.
    Device,
    /// Read, write, create and delete.
    Own,
}

/// A path, and what may be done with it.
pub(super) type Entry = (PathBuf, Grant);

/// Libraries and their data, what C libraries and OpenMP read about the machine, settings of GPU drivers, and the
/// program itself, whose symbols name the functions in a backtrace.
const READ: [&str; 31] = [
    "/proc/self",
    "/proc/self/exe",
    "/sys",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/opt/cuda",
    "/opt/intel",
    "/opt/amdgpu",
    "/run/opengl-driver",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/alternatives",
    "/etc/OpenCL",
    "/etc/vulkan",
    "/etc/glvnd",
    "/etc/egl",
    "/etc/drirc",
    "/etc/nvidia",
    "/etc/nvidia-container-runtime",
    "/etc/libnl",
    "/etc/amdgpu",
];

/// The kernel's own memory and messages.
const KERNEL_SECRETS: [&str; 2] = ["kcore", "kmsg"];

/// Devices of GPU drivers whose names have no number: AMD's, the direct rendering folder, and Windows's.
const GPU_DEVICES: [&str; 3] = ["/dev/kfd", "/dev/dri", "/dev/dxg"];

/// What the environment says about where files are.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    home: Option<PathBuf>,
    /// Folders that the dynamic loader searches.
    libraries: Vec<PathBuf>,
    /// Where CUDA keeps the kernels that it compiled.
    cuda_cache: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        let path = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| is_meant(path));
        let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let libraries = std::env::split_paths(&libraries).filter(|path| is_meant(path)).collect();
        Self { home: path("HOME"), libraries, cuda_cache: path("CUDA_CACHE_PATH") }
    }
}

/// A relative path would depend on where the server was started; the root would open everything.
fn is_meant(path: &Path) -> bool {
    path.is_absolute() && path.parent().is_some()
}

/// What the system keeps ready for every such worker.
pub(super) fn of_the_system(gpu: bool, surroundings: &Surroundings) -> Vec<Entry> {
    let mut entries: Vec<Entry> = READ.iter().map(|path| (path.into(), Grant::Read)).collect();
    entries.extend(of_proc());
    entries.extend(named("/opt", "rocm").map(|path| (path, Grant::Read)));
    entries.extend(surroundings.libraries.iter().map(|path| (path.clone(), Grant::Read)));
    entries.extend(["/dev/null", "/dev/zero"].map(|path| (path.into(), Grant::ReadWrite)));
    if gpu {
        entries.extend(of_gpus(surroundings));
    }
    entries
}

/// What the kernel tells about the machine, but not the files of other processes: a privileged worker could read the
/// server's environment there, and any worker its command line.
fn of_proc() -> impl Iterator<Item = Entry> {
    let is_other_process = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    };
    let is_secret = |path: &Path| KERNEL_SECRETS.iter().any(|name| path.ends_with(name));
    let told = named("/proc", "").filter(move |path| !is_other_process(path) && !is_secret(path));
    let list = ("/proc".into(), Grant::List);
    std::iter::once(list).chain(told.map(|path| (path, Grant::Read)))
}

fn of_gpus(surroundings: &Surroundings) -> Vec<Entry> {
    let mut entries: Vec<Entry> = GPU_DEVICES.iter().map(|path| (path.into(), Grant::Device)).collect();
    entries.extend(named("/dev", "nvidia").map(|path| (path, Grant::Device)));
    entries.extend(named("/run", "nvidia").map(|path| (path, Grant::ReadWrite)));
    entries.push(("/dev/shm".into(), Grant::Own));
    entries.extend(surroundings.home.iter().map(|home| (home.join(".nv"), Grant::Own)));
    entries.extend(surroundings.cuda_cache.iter().map(|path| (path.clone(), Grant::Own)));
    // CUDA names its threads through their files there and gives up with error 304 if it cannot.
    entries.push(("/proc/self/task".into(), Grant::Write));
    entries
}

/// What only this worker needs. Unlike the system's, all of it must be there.
pub(super) fn of_the_worker(confinement: &Confinement) -> Vec<Entry> {
    let files = confinement.model_files.iter().map(|path| (path.clone(), Grant::ReadOne));
    let libraries = confinement.libraries.iter().map(|path| (path.clone(), Grant::Read));
    let written = confinement.written_files.iter().map(|path| (path.clone(), Grant::Write));
    files.chain(written).chain(libraries).collect()
}

/// What is in `folder` under a name that begins with `prefix`.
fn named(folder: &str, prefix: &'static str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let begins = move |name: &OsStr| name.as_encoded_bytes().starts_with(prefix.as_bytes());
    entries.filter(move |entry| begins(&entry.file_name())).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_with_a_gpu_may_write_to_more_than_null_and_zero() {
        let surroundings = Surroundings { home: Some("/home/x".into()), ..Surroundings::default() };
        let beyond_reading = |gpu| -> Vec<PathBuf> {
            let entries = of_the_system(gpu, &surroundings).into_iter();
            entries
                .filter(|(_, grant)| !matches!(grant, Grant::Read | Grant::List))
                .map(|(path, _)| path)
                .collect()
        };
        assert_eq!(beyond_reading(false), [Path::new("/dev/null"), Path::new("/dev/zero")]);
        let with_gpu = beyond_reading(true);
        for path in ["/dev/kfd", "/dev/dri", "/dev/shm", "/home/x/.nv", "/proc/self/task"] {
            assert!(with_gpu.contains(&path.into()), "{path}");
        }
    }

    #[test]
    fn nothing_opens_the_root_or_a_path_that_depends_on_the_working_folder() {
        for (path, wanted) in [("/", false), ("lib", false), ("", false), ("/opt/lib", true)] {
            assert_eq!(is_meant(Path::new(path)), wanted, "{path:?}");
        }
    }

    #[test]
    fn the_kernel_s_figures_may_be_read_but_no_other_process() {
        let readable: Vec<PathBuf> =
            of_proc().filter(|(_, grant)| *grant == Grant::Read).map(|(path, _)| path).collect();
        for (path, wanted) in
            [("meminfo", true), ("sys", true), ("self", true), ("1", false), ("kcore", false)]
        {
            assert_eq!(readable.contains(&Path::new("/proc").join(path)), wanted, "{path}");
        }
    }

    #[test]
    fn devices_are_found_by_the_start_of_their_names() {
        assert!(named("/dev", "nul").any(|path| path == Path::new("/dev/null")));
        assert_eq!(named("/dev/no-such-folder", "").count(), 0);
    }
}
