//! The model that the program carries, so that it serves from any folder without a download.
//!
//! llama.cpp reads models from files: they are unpacked once into the cache folder, atomically, and checked on
//! every start.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files of the demo model (examples/demo-model), by the name used in policies: `embedded:NAME`.
const FILES: [(&str, &[u8]); 3] = [
    ("tidepool-3m-f16.gguf", include_bytes!("../examples/demo-model/tidepool-3m-f16.gguf")),
    ("tidepool-3m-q8_0.gguf", include_bytes!("../examples/demo-model/tidepool-3m-q8_0.gguf")),
    ("tidepool-3m-q4_k_m.gguf", include_bytes!("../examples/demo-model/tidepool-3m-q4_k_m.gguf")),
];

/// Names the folder to unpack into, instead of the user's cache folder.
pub const CACHE_VARIABLE: &str = "MODELPOOL_CACHE_DIR";

/// Why an embedded file is not there.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The program carries no such file.
    #[error("no file named {name} is carried in the program; there are: {}", FILES.map(|(name, _)| name).join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// There is no folder to unpack into.
    #[error(
        "no cache folder for the embedded model: HOME is not set; set {CACHE_VARIABLE} to a writable folder"
    )]
    NoCacheFolder,
    /// The file cannot be written.
    #[error(
        "cannot unpack the embedded model to {path}: {reason}; set {CACHE_VARIABLE} to a writable folder"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
}

/// Whether the program carries a file of this name.
#[must_use]
pub fn carries(name: &str) -> bool {
    FILES.iter().any(|(file, _)| *file == name)
}

/// The folder that embedded files are unpacked into.
///
/// # Errors
///
/// [`EmbeddedError::NoCacheFolder`] if neither the variable nor a home folder says where.
pub fn cache_folder() -> Result<PathBuf, EmbeddedError> {
    if let Some(folder) = std::env::var_os(CACHE_VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    dirs::cache_dir().map(|folder| folder.join("modelpool")).ok_or(EmbeddedError::NoCacheFolder)
}

/// Makes sure that the embedded file `name` lies in `folder` as the program carries it.
///
/// Several servers may do this at once: each writes a file of its own and renames it.
///
/// # Errors
///
/// [`EmbeddedError`] if there is no such file or it cannot be written.
pub fn unpack(name: &str, folder: &Path) -> Result<(), EmbeddedError> {
    let unknown = || EmbeddedError::Unknown { name: name.into() };
    let (_, contents) = FILES.iter().find(|(file, _)| *file == name).ok_or_else(unknown)?;
    let path = folder.join(name);
    if fs::read(&path).is_ok_and(|present| present == *contents) {
        return Ok(());
    }
    write_atomically(folder, &path, contents).map_err(|reason| EmbeddedError::Write { path, reason })
}

fn write_atomically(folder: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".unpacking-").tempfile_in(folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_once_and_repairs_what_was_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (name, contents) = FILES[2];
        let path = folder.path().join("sub").join(name);
        for damage in [None, Some(&contents[..100]), Some(&[][..])] {
            if let Some(damaged) = damage {
                fs::write(&path, damaged).unwrap();
            }
            unpack(name, path.parent().unwrap()).unwrap();
            assert!(fs::read(&path).unwrap() == contents);
        }
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        unpack(name, path.parent().unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "no temporary file stays behind");
    }

    #[test]
    fn says_what_there_is_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = unpack("other.gguf", folder.path()).unwrap_err().to_string();
        assert!(error.contains("tidepool-3m-q8_0.gguf"), "{error}");
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = unpack(FILES[0].0, &file).unwrap_err().to_string();
        assert!(error.contains(CACHE_VARIABLE), "{error}");
    }
}
