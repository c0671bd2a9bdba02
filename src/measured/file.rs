//! Keeps what was measured across restarts, in a small file of the user's.
//!
//! Nothing depends on the file. If it cannot be read or written, that is one warning, and predictions are used as long as
//! nothing was measured anew. Of several servers of one user the last one to write wins.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Key, Measured, Sighting};
use crate::view::Takes;

/// What was measured, and the file that keeps it.
#[derive(Debug, Default)]
pub struct Remembered {
    measured: Measured,
    /// `None` where it is forgotten with the server.
    file: Option<PathBuf>,
    unsaved: bool,
    /// The last write, on a thread that may wait for a disk. No two at once, so that the latest stays.
    writing: Option<JoinHandle<()>>,
    warned: Arc<AtomicBool>,
}

impl Remembered {
    /// What the user's file has: `modelpool/measured.json` in the folder for the state of programs
    /// (`$XDG_STATE_HOME`, or `~/.local/state`; where systems have no such folder, in that for local data).
    #[must_use]
    pub fn of_user() -> Self {
        let folder = dirs::state_dir().or_else(dirs::data_local_dir);
        folder.map_or_else(Self::default, |folder| Self::at(&folder.join("modelpool/measured.json")))
    }

    /// What the file at `path` has; nothing if there is none.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let remembered = Self { file: Some(path.to_owned()), ..Self::default() };
        let read = match std::fs::read_to_string(path) {
            Ok(text) => Measured::from_text(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Measured::default()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(measured) => Self { measured, ..remembered },
            Err(error) => {
                tracing::warn!(path = %path.display(), error,
                    "what was measured earlier cannot be read; it is measured anew");
                remembered
            }
        }
    }

    /// See [`Measured::takes`].
    #[must_use]
    pub fn takes(&self, key: &Key, predicted: Takes) -> Option<Takes> {
        self.measured.takes(key, predicted)
    }

    /// See [`Measured::see`]; what is learned is saved.
    pub fn see(&mut self, sightings: Vec<Sighting>) {
        self.unsaved |= self.measured.see(sightings);
        if self.unsaved {
            self.save();
        }
    }

    /// Writes the file, unless it is just being written: then the next look does.
    fn save(&mut self) {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.unsaved = false;
        let Some(path) = self.file.clone() else { return };
        let (text, warned) = (self.measured.to_text(), Arc::clone(&self.warned));
        let write = move || {
            if let Err(error) = replace(&path, &text)
                && !warned.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(path = %path.display(), %error,
                    "what was measured cannot be saved; the next start will predict");
            }
        };
        match Handle::try_current() {
            Ok(runtime) => self.writing = Some(runtime.spawn_blocking(write)),
            Err(_) => write(),
        }
    }
}

/// Replaces the file at once: a reader sees the old or the new one, whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PREDICTED, key, sighting};
    use super::*;

    fn learn(remembered: &mut Remembered, bytes: u64) {
        for _ in 0..2 {
            remembered.see(sighting(1, bytes));
        }
    }

    fn known(remembered: &Remembered) -> Option<u64> {
        let takes = remembered.takes(&key("", "gpu"), PREDICTED)?;
        Some((takes.worker + takes.instance).0)
    }

    #[test]
    fn what_was_learned_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/measured.json");
        let mut remembered = Remembered::at(&path);
        assert_eq!(known(&remembered), None);
        learn(&mut remembered, 1000);
        learn(&mut remembered, 1200);
        assert_eq!(known(&Remembered::at(&path)), Some(1200));
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "nothing temporary is left");
    }

    #[tokio::test]
    async fn inside_a_runtime_another_thread_writes_and_the_latest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("measured.json");
        let mut remembered = Remembered::at(&path);
        for bytes in 1000..1020 {
            learn(&mut remembered, bytes);
        }
        while remembered.unsaved || remembered.writing.is_some() {
            if let Some(writing) = remembered.writing.take() {
                writing.await.unwrap();
            }
            remembered.see(Vec::new());
        }
        assert_eq!(known(&Remembered::at(&path)), Some(1019));
    }

    #[test]
    fn a_broken_or_unwritable_file_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("measured.json");
        std::fs::write(&broken, "{ not JSON").unwrap();
        let mut remembered = Remembered::at(&broken);
        assert_eq!(known(&remembered), None);
        learn(&mut remembered, 1000);
        assert_eq!(known(&Remembered::at(&broken)), Some(1000), "it was replaced");

        // A file stands where a folder is needed, for everyone, root included.
        let mut unwritable = Remembered::at(&broken.join("measured.json"));
        learn(&mut unwritable, 1000);
        assert_eq!(known(&unwritable), Some(1000));
        assert!(unwritable.warned.load(Ordering::Relaxed));
    }
}
