//! Finds the last words of a worker among its last lines, and makes them fit for clients: one line, no folders of
//! the machine that built it, bounded.
//!
//! Takes only lines of known forms. Any other line may hold anything, and is for the log alone.

/// The most characters that a message has.
const MAX_CHARS: usize = 300;

/// What marks a line as someone's last words; what comes first tells more.
const MARKS: [&str; 18] = [
    // ggml's GPU back ends name the error, then abort.
    "CUDA error:",
    "ROCm error:",
    "HIP error:",
    "MUSA error:",
    "SYCL error:",
    "GGML_ASSERT(",
    "panicked at",
    "has overflowed its stack",
    "memory allocation of",
    "terminate called",
    "vk::",
    "GGML_ABORT",
    "Assertion",
    // glibc's checks.
    "double free or corruption",
    "corrupted",
    "free(): invalid",
    "malloc(): invalid",
    "stack smashing detected",
];

/// What a line about short memory has in it, in small letters.
const OF_MEMORY: [&str; 8] = [
    "out of memory",
    "bad_alloc",
    "memory allocation of",
    "outofdevicememory",
    "outofhostmemory",
    "cannot allocate memory",
    "insufficient memory",
    "failed to allocate",
];

/// Whether one of the lines says that memory is short.
pub(super) fn speak_of_memory(lines: &[String]) -> bool {
    lines.iter().any(|line| {
        let line = line.to_lowercase();
        OF_MEMORY.iter().any(|mark| line.contains(mark))
    })
}

/// The line that tells most, or nothing if none is of a known form. Of two that tell as much, the later one.
pub(super) fn most_telling(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| plain(line)).collect();
    let ranked = lines.iter().enumerate().filter_map(|(at, line)| Some((rank(line)?, at)));
    let Some((_, at)) = ranked.min_by_key(|(rank, at)| (*rank, usize::MAX - at)) else {
        return String::new();
    };
    let mut text = source_last(lines[at].trim_end_matches(':'));
    if let Some(more) = lines.get(at + 1).and_then(|next| continuation(&lines[at], next)) {
        text = format!("{text}: {more}");
    }
    bounded(&without_folders(&text))
}

fn rank(line: &str) -> Option<usize> {
    let marked = MARKS.iter().position(|mark| line.contains(mark));
    // ggml ends with `file.c:12: what happened`, whatever happened.
    marked.or_else(|| source_and_text(line).map(|_| MARKS.len()))
}

/// What the line after `line` adds to it: Rust and C++ say only there what went wrong.
fn continuation<'a>(line: &str, next: &'a str) -> Option<&'a str> {
    if line.contains("panicked at") && line.ends_with(':') {
        return Some(next).filter(|next| !next.is_empty());
    }
    next.strip_prefix("what():").map(str::trim)
}

/// Without colours, other control characters, and blanks at the ends.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            // A colour ends with a letter.
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            text.push(if char.is_control() { ' ' } else { char });
        }
    }
    text.trim().to_owned()
}

/// `file.c:12: text` as `text (file.c:12)`; any other line as it is.
fn source_last(line: &str) -> String {
    match source_and_text(line) {
        Some((source, text)) => format!("{text} ({})", file_name(source)),
        None => line.to_owned(),
    }
}

/// The parts of `folder/file.c:12: text`. The folder may have blanks in its name.
fn source_and_text(line: &str) -> Option<(&str, &str)> {
    line.match_indices(": ").map(|(at, _)| (&line[..at], line[at + 2..].trim())).find(|(source, text)| {
        let numbered = source.rsplit_once(':').filter(|(_, number)| is_number(number));
        numbered.is_some_and(|(file, _)| has_extension(file)) && !text.is_empty()
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the path ends like a source file's name; an expression with a division does not.
fn has_extension(path: &str) -> bool {
    let extension = file_name(path).rsplit_once('.').map_or("", |(_, extension)| extension);
    extension.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn file_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The text with each path shortened to its last part.
fn without_folders(text: &str) -> String {
    let is_part = |char: char| char.is_alphanumeric() || "/._-+~@%".contains(char);
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let (run, after) = from.split_at(from.find(|char| !is_part(char)).unwrap_or(from.len()));
        short.push_str(before);
        // After a bracket, a stroke is a division.
        let divides = short.ends_with([')', ']']);
        let begins = ["/", "./", "../", "~/"].iter().any(|begin| run.starts_with(begin)) && run.len() > 1;
        let is_path = run.contains('/') && !divides && (begins || has_extension(run));
        short.push_str(if is_path { file_name(run) } else { run });
        rest = after;
    }
    short.push_str(rest);
    short
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        None => text.to_owned(),
        Some(_) => text.chars().take(MAX_CHARS - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> String {
        most_telling(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn last_words_are_found_and_made_fit_for_clients() {
        let table: [(&[&str], &str); 16] = [
            (&[], ""),
            (&["load_tensors: 33 layers", "the user's text"], ""),
            (
                &["/b/ggml/src/ggml.c:1234: GGML_ASSERT(n > 0) failed"],
                "GGML_ASSERT(n > 0) failed (ggml.c:1234)",
            ),
            (
                &["/home/A B/ggml.c:1: GGML_ASSERT(n/2 > (a)/b) failed"],
                "GGML_ASSERT(n/2 > (a)/b) failed (ggml.c:1)",
            ),
            (&["../x/ggml.c:7: fatal error", "[New LWP 12]", "No symbol table"], "fatal error (ggml.c:7)"),
            (
                &["CUDA error: out of memory", "  in function f at /b/x.cu:8", "/b/x.cu:88: CUDA error"],
                "CUDA error: out of memory",
            ),
            (
                &["\u{1b}[31mCUDA error: an illegal access in /b/c/x.cu:3\u{1b}[0m\r"],
                "CUDA error: an illegal access in x.cu:3",
            ),
            (
                &[
                    "terminate called after throwing an instance of 'std::bad_alloc'",
                    "  what():  std::bad_alloc",
                ],
                "terminate called after throwing an instance of 'std::bad_alloc': std::bad_alloc",
            ),
            (
                &[
                    "terminate called after throwing an instance of 'vk::DeviceLostError'",
                    "  what():  vk::Queue::submit",
                ],
                "terminate called after throwing an instance of 'vk::DeviceLostError': vk::Queue::submit",
            ),
            (
                &["terminate called without an active exception"],
                "terminate called without an active exception",
            ),
            (
                &[
                    "thread 'main' (7) panicked at src/worker/main.rs:3:5:",
                    "index out of bounds",
                    "note: run with",
                ],
                "thread 'main' (7) panicked at main.rs:3:5: index out of bounds",
            ),
            (
                &["thread 'a' has overflowed its stack", "fatal runtime error"],
                "thread 'a' has overflowed its stack",
            ),
            (&["memory allocation of 99 bytes failed"], "memory allocation of 99 bytes failed"),
            (&["double free or corruption (!prev)"], "double free or corruption (!prev)"),
            (
                &["a.c:1: GGML_ASSERT(x) failed", "b.c:2: GGML_ASSERT(y) failed"],
                "GGML_ASSERT(y) failed (b.c:2)",
            ),
            (
                &["memory allocation of 9 bytes at /home/a/b/ failed"],
                "memory allocation of 9 bytes at b failed",
            ),
        ];
        for (lines, wanted) in table {
            assert_eq!(told(lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = told(&[&format!("CUDA error: {}", "ü".repeat(500))]);
        assert_eq!(message.chars().count(), MAX_CHARS);
        assert!(message.ends_with("ü…"));
        assert_eq!(told(&[&"x.c:1: ".repeat(90)]).chars().count(), MAX_CHARS);
    }

    #[test]
    fn short_memory_is_recognised_in_every_back_end_s_words() {
        for (line, wanted) in [
            ("CUDA error: out of memory", true),
            ("allocating 9.00 MiB on device 0: cudaMalloc failed: out of memory", true),
            ("  what():  std::bad_alloc", true),
            ("vk::Device::allocateMemory: ErrorOutOfDeviceMemory", true),
            ("memory allocation of 8 bytes failed", true),
            ("CUDA error: an illegal memory access was encountered", false),
            ("memory breakdown", false),
        ] {
            assert_eq!(speak_of_memory(&[line.to_owned()]), wanted, "{line}");
        }
    }
}
