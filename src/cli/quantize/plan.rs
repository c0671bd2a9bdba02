//! What is to be made, and whether it can be, before anything is written.

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::QuantizeArguments;
use crate::gguf::{self, Header};
use crate::gpu;
use crate::quantization::{self, Quantization};
use crate::units::ByteCount;

/// What is to be made.
pub(super) struct Plan {
    pub(super) full: PathBuf,
    pub(super) full_bytes: ByteCount,
    pub(super) jobs: Vec<Job>,
    pub(super) threads: NonZeroU32,
    pub(super) force: bool,
}

/// One variant to make.
pub(super) struct Job {
    pub(super) kind: &'static Quantization,
    /// The variant's name: that of the file without its extension.
    pub(super) name: String,
    pub(super) target: PathBuf,
    /// The file has no more bytes than this.
    pub(super) most_bytes: ByteCount,
}

impl Plan {
    /// # Errors
    ///
    /// A full file that is none, a folder that is none, files that exist, or too little space.
    pub(super) fn new(arguments: &QuantizeArguments) -> anyhow::Result<Self> {
        let full = arguments.full.clone();
        let header = gguf::read_file(&full)?;
        check_full(&full, &header)?;
        let folder = arguments.out.as_deref().or_else(|| full.parent()).unwrap_or(Path::new(""));
        let existing = if folder == Path::new("") { Path::new(".") } else { folder };
        anyhow::ensure!(existing.is_dir(), "--out {} is no folder; create it first", existing.display());
        let mut jobs: Vec<Job> = Vec::new();
        for kind in &arguments.types {
            // A type that is named twice is made once.
            if jobs.iter().all(|job| job.kind != *kind) {
                jobs.push(job(&full, &header, folder, kind)?);
            }
        }
        check_targets(&full, &jobs, arguments.force)?;
        check_space(existing, jobs.iter().map(|job| job.most_bytes).sum())?;
        let threads = arguments.threads.unwrap_or_else(gpu::cpu_threads);
        Ok(Self { full, full_bytes: header.file_bytes, jobs, threads, force: arguments.force })
    }
}

fn check_full(full: &Path, header: &Header) -> anyhow::Result<()> {
    let shown = full.display();
    anyhow::ensure!(
        header.split_count == 1,
        "{shown} is the first of {} shards, and only a whole file can be quantized; merge them with llama.cpp's \
         llama-gguf-split --merge",
        header.split_count
    );
    if header.weights.quantized_tensors > 0 {
        let kind = header.file_type.map_or_else(|| "of an unknown type".to_owned(), quantization::name_of);
        anyhow::bail!(
            "{shown} is quantized already ({kind}), and once more would lose more than the new type says; name the \
             full file, which is f16, bf16 or f32"
        );
    }
    Ok(())
}

fn job(full: &Path, header: &Header, folder: &Path, kind: &'static Quantization) -> anyhow::Result<Job> {
    let file_name = kind.file_name(full);
    let file_name = file_name.with_context(|| {
        format!("the name of {} is not UTF-8 text, so variants have no names; rename it", full.display())
    })?;
    let name = file_name.trim_end_matches(".gguf").to_owned();
    let most_bytes = header.quantized_bytes(kind.bits_times_100);
    Ok(Job { kind, name, target: folder.join(file_name), most_bytes })
}

fn check_targets(full: &Path, jobs: &[Job], force: bool) -> anyhow::Result<()> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    for Job { target, kind, .. } in jobs {
        let shown = target.display();
        anyhow::ensure!(
            identity(target).is_none_or(|found| Some(found) != identity(full)),
            "{shown} is the full file itself; leave out the type {}, or name another folder with --out",
            kind.name
        );
        anyhow::ensure!(!target.is_dir(), "{shown} is a folder; remove it, or name another one with --out");
    }
    // A link counts, wherever it leads.
    let exists = |job: &&Job| !force && fs::symlink_metadata(&job.target).is_ok();
    let existing: Vec<_> = jobs.iter().filter(exists).map(|job| job.target.display().to_string()).collect();
    anyhow::ensure!(existing.is_empty(), "already there: {}; give --force to replace", existing.join(", "));
    Ok(())
}

/// What is replaced counts as needed, too: it goes when the new one is complete.
fn check_space(folder: &Path, needed: ByteCount) -> anyhow::Result<()> {
    let shown = folder.display();
    let found =
        rustix::fs::statvfs(folder).with_context(|| format!("cannot see how much space {shown} has"))?;
    let free = ByteCount(found.f_bavail.saturating_mul(found.f_frsize));
    anyhow::ensure!(
        needed <= free,
        "{shown} has {} bytes free ({free}), and up to {} ({needed}) are needed; make room, or name another folder \
         with --out",
        free.0,
        needed.0
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_told_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        check_space(folder.path(), ByteCount(1)).unwrap();
        let error = check_space(folder.path(), ByteCount(u64::MAX)).unwrap_err().to_string();
        assert!(error.contains("bytes free") && error.contains("18446744073709551615"), "{error}");
    }
}
