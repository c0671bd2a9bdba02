//! Notices that the policy's file, or that of the API keys, was changed.
//!
//! Looks at it once a second: that also sees files that editors and configuration managers replace, links that are
//! turned to another folder, and network file systems, where the kernel's notifications see some or none.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What tells one state of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Look {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self::of(&found))
    }
}

/// Watches one file.
#[derive(Debug)]
pub(super) struct FileWatch {
    path: PathBuf,
    /// What was there when it was last read.
    read: Option<Look>,
    /// What was there at the last look.
    seen: Option<Look>,
}

impl FileWatch {
    /// Watches `path`, which was just read.
    pub(super) fn new(path: &Path) -> Self {
        let now = Look::at(path);
        Self { path: path.to_owned(), read: now, seen: now }
    }

    /// Waits until the file is another one, and has been for a whole interval: a file that is being written is not
    /// read half-way. One that is missing is no change; it may be about to be replaced.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = Look::at(&self.path);
            let settled = now.is_some() && now == self.seen;
            self.seen = now;
            if settled && now != self.read {
                self.read = now;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_noticed_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut watch = FileWatch::new(&path);
        let soon = Duration::from_secs(10);
        assert!(tokio::time::timeout(soon, watch.changed()).await.is_err(), "nothing changed");
        std::fs::remove_file(&path).unwrap();
        assert!(tokio::time::timeout(soon, watch.changed()).await.is_err(), "it is only missing");
        std::fs::write(&path, "other").unwrap();
        assert!(tokio::time::timeout(soon, watch.changed()).await.is_ok());
        assert!(tokio::time::timeout(soon, watch.changed()).await.is_err(), "it was noticed already");
    }
}
