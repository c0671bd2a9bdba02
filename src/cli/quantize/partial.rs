//! A file on its way: under another name until it is complete, and gone if it never is.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::OFlags;

/// How often the file is opened anew because another process took its name away in the meantime.
const TRIES: u32 = 8;

/// The file that is to become another one. Removed when it is dropped.
///
/// Its name follows from the other's: what a process that was killed left behind is used by the next one. A lock, which
/// ends with its process, keeps two from writing at a time.
pub(super) struct Partial {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

impl Partial {
    /// The file that is to become `target`, beside it.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or somebody else is at it.
    pub(super) fn create(target: &Path) -> anyhow::Result<Self> {
        let mut name = OsString::from(".");
        name.push(target.file_name().context("a target has a name")?);
        name.push(".part");
        let path = target.with_file_name(name);
        for _ in 0..TRIES {
            let file = open(&path).with_context(|| {
                let remedy = "check the folder and its permissions, or name another one with --out";
                format!("cannot write {}; {remedy}", path.display())
            })?;
            match file.try_lock() {
                // Where files cannot be locked, nobody else is kept out.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => anyhow::bail!(
                    "another modelpool quantize writes {}; wait for it, or end it",
                    path.display()
                ),
            }
            // Until it was locked, another process may have removed or renamed it.
            if is_at(&file, &path) {
                return Ok(Self { path, file });
            }
        }
        anyhow::bail!("another modelpool quantize takes {} away again and again", path.display())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length by now.
    pub(super) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |found| found.len())
    }

    /// Gives it its own name; `replace`: whatever has it.
    ///
    /// # Errors
    ///
    /// If the name is taken, or the system refuses.
    pub(super) fn become_the_target(self, target: &Path, replace: bool) -> anyhow::Result<()> {
        anyhow::ensure!(
            replace || fs::symlink_metadata(target).is_err(),
            "somebody else made {} in the meantime; --force replaces it",
            target.display()
        );
        fs::rename(&self.path, target).with_context(|| format!("cannot rename {}", self.path.display()))?;
        // The name, too, survives a power failure, as far as the file system can promise it.
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        let _not_promised = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Anybody can foresee the name; a link there would lead the writing elsewhere.
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).expect("flags of the system fit its own type");
    OpenOptions::new().write(true).create(true).truncate(false).custom_flags(no_link).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(own), Ok(there)) => identity(own) == identity(there),
        _ => false,
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After it was renamed, nothing is there, or the next one's.
        if is_at(&self.file, &self.path) {
            let _left = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_complete_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.gguf");
        drop(Partial::create(&target).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);
        let partial = Partial::create(&target).unwrap();
        fs::write(partial.path(), "whole").unwrap();
        assert_eq!((partial.bytes(), target.exists()), (5, false));
        partial.become_the_target(&target, false).unwrap();
        assert_eq!(names(folder.path()), ["a.gguf"]);
        assert_eq!(fs::read(&target).unwrap(), b"whole");
    }

    #[test]
    fn a_name_that_is_taken_stays_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.gguf");
        let partial = Partial::create(&target).unwrap();
        fs::write(&target, "other").unwrap();
        assert!(partial.become_the_target(&target, false).is_err());
        assert_eq!(
            (names(folder.path()), fs::read(&target).unwrap()),
            (vec!["a.gguf".into()], b"other".into())
        );
        Partial::create(&target).unwrap().become_the_target(&target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"");
    }

    #[test]
    fn one_process_at_a_time_writes_and_what_it_left_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.gguf");
        let left = folder.path().join(".a.gguf.part");
        fs::write(&left, "left by a process that was killed").unwrap();
        let partial = Partial::create(&target).unwrap();
        assert_eq!(partial.path(), left);
        let error = Partial::create(&target).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("another modelpool quantize"), "{error}");
        assert!(left.exists(), "it was refused, not removed");
        drop(partial);
        std::os::unix::fs::symlink("elsewhere", &left).unwrap();
        assert!(Partial::create(&target).is_err(), "a link is not followed");
        assert_eq!(names(folder.path()), [".a.gguf.part"]);
    }
}
