//! Proves that the program tells systemd when it takes requests, that it is alive, when it reads its policy again, and when
//! it ends. A socket stands for systemd's.
#![cfg(target_os = "linux")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::process::{Serving, program};
use rustix::process::Signal;

/// What was told, message by message.
struct Told(UnixDatagram);

impl Told {
    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let count = self.0.recv(&mut bytes).expect("it is told in time");
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    /// Waits for a message that begins so, past signs of life; gives how many of those there were.
    fn wait_for(&self, word: &str) -> u32 {
        let mut signs = 0;
        loop {
            match self.next() {
                text if text.starts_with(word) => return signs,
                text if text.starts_with("WATCHDOG=1") => signs += 1,
                text => panic!("{text:?} instead of {word}"),
            }
        }
    }
}

#[test]
fn systemd_hears_how_the_server_is_doing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let told = Told(UnixDatagram::bind(&path).unwrap());
    told.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = program(folder.path(), &["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000").stderr(Stdio::null());
    let mut server = Serving::spawn(&mut command);
    assert_eq!(told.wait_for("READY=1"), 0);
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(told.next().trim_end(), "WATCHDOG=1");
    }
    assert!(begun.elapsed() >= Duration::from_millis(300), "not more often than asked");
    server.signal(Signal::HUP);
    told.wait_for("RELOADING=1\nMONOTONIC_USEC=");
    told.wait_for("READY=1");
    server.signal(Signal::TERM);
    told.wait_for("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}
