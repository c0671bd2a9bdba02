//! Writes a file: whole, or not at all.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use tempfile::NamedTempFile;

/// Writes `text` beside `target`, and gives it its name when it is complete.
///
/// # Errors
///
/// If it cannot be written, with its path.
pub(super) fn write(target: &Path, text: &str) -> anyhow::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let attempt = || -> std::io::Result<()> {
        let mut file = new_file(folder.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        file.persist(target).map_err(|failed| failed.error)?;
        Ok(())
    };
    attempt()
        .with_context(|| format!("cannot write {}; check the folder and its permissions", target.display()))
}

/// A file that others may read as they may read any other: temporary ones are private otherwise.
fn new_file(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".modelpool-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.html");
        for text in ["first", "second"] {
            write(&target, text).unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        let error = format!("{:#}", write(&folder.path().join("none/out.html"), "x").unwrap_err());
        assert!(error.contains("none/out.html"), "{error}");
        // A folder has the name.
        let error = format!("{:#}", write(folder.path(), "x").unwrap_err());
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
}
