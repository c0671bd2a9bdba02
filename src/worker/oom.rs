//! Reads how often the kernel's OOM killer has struck. Reads one file, changes nothing.

use std::fs;
use std::path::Path;

/// How many processes the kernel's OOM killer has ended since the system started, on the whole machine; 0 if the
/// system does not say. Only a rise between two readings means something.
pub fn oom_kills(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("proc/vmstat")).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_counter_itself_is_read() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(oom_kills(root.path()), 0, "a system without the file");
        fs::create_dir(root.path().join("proc")).unwrap();
        for (text, wanted) in [
            ("nr_free_pages 9\noom_kill 3\noom_kill_other 4\n", 3),
            ("oom_kill_other 4\n", 0),
            ("oom_kill many\n", 0),
        ] {
            fs::write(root.path().join("proc/vmstat"), text).unwrap();
            assert_eq!(oom_kills(root.path()), wanted, "{text:?}");
        }
    }
}
