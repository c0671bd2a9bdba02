//! Methods, paths, headers, and bytes that are no HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::case::{CHAT, COMPLETIONS, Case, chat};
use crate::common::{PATIENCE, World};

pub fn cases() -> Vec<Case> {
    methods().into_iter().chain(places()).collect()
}

fn wrong(method: &'static str, path: &str, says: &str) -> Case {
    Case::at(method, path, 405, "method_not_allowed", says)
}

/// Paths that do not take the method.
fn methods() -> Vec<Case> {
    let posted = [
        CHAT,
        COMPLETIONS,
        "/v1/embeddings",
        "/v1/rerank",
        "/rerank",
        "/completion",
        "/infill",
        "/tokenize",
        "/detokenize",
        "/apply-template",
        "/admin/drain",
    ];
    let got = [
        "/health",
        "/metrics",
        "/v1/models",
        "/v1/models/text",
        "/props",
        "/slots",
        "/openapi.json",
        "/admin/instances",
    ];
    let methods =
        posted.iter().flat_map(|path| ["GET", "DELETE"].map(|method| wrong(method, path, "takes POST, not")));
    let others = got.iter().map(|path| wrong("POST", path, "takes GET, not POST"));
    let odd = [
        wrong("BREW", "/v1/models", "takes GET, not BREW"),
        wrong("PATCH", "/admin/policy", "takes GET, PUT, not PATCH"),
        wrong("TRACE", "/health", "takes GET, not TRACE"),
    ];
    methods.chain(others).chain(odd).collect()
}

/// Paths with nothing there, or no such model, and what is wrong with what is sent to others.
fn places() -> Vec<Case> {
    let nothing = |path: &str| Case::at("GET", path, 404, "not_found", "there is nothing at /");
    let model = |path: &str| {
        Case::at("GET", path, 404, "model_not_found", "does not exist; there are: text").of("model")
    };
    let long = "a".repeat(60_000);
    let timed = |value: &str| {
        let case = Case::post(
            CHAT,
            chat(&json!({})).to_string(),
            "x-request-timeout",
            "expected a number of seconds above 0",
        );
        case.with("x-request-timeout", value)
    };
    vec![
        nothing("/"),
        nothing("/v1"),
        nothing("/v1/nothing"),
        nothing("/v1/models/"),
        nothing("/v1/chat/completions/"),
        nothing("/admin/nothing"),
        nothing(&format!("/{long}")),
        model("/v1/models/nope"),
        model("/v1/models/org/nope"),
        model("/v1/models/%00"),
        model("/v1/models/%ff%zz"),
        model(&format!("/v1/models/{long}")),
        model("/props?model=nope"),
        model("/slots?model=nope"),
        Case::at("GET", "/admin/decisions?limit=x", 400, "invalid_request", "expected a whole number")
            .of("limit"),
        Case::at("GET", "/admin/decisions?limit=-1", 400, "invalid_request", "expected a whole number")
            .of("limit"),
        timed("0"),
        timed("-1"),
        timed("NaN"),
        timed("soon"),
        Case::post(CHAT, "\u{1f}\u{8b}", "content-encoding", "reads no compressed bodies")
            .with("content-encoding", "gzip"),
        Case {
            body: vec![b' '; 17 << 20],
            ..Case::at("POST", CHAT, 413, "body_too_large", "larger than 16777216 bytes")
        },
    ]
}

/// Bytes that are sent as they are, and how the answer begins.
fn requests() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let post = |headers: &str, body: &str| {
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n\r\n{body}")
            .into_bytes()
    };
    let get = |line: &str, headers: &str| {
        format!("{line}\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").into_bytes()
    };
    let many = "x: a\r\n".repeat(1000);
    let bad = "HTTP/1.1 400";
    vec![
        ("a body that will be too large", post("content-length: 1099511627776", "{}"), "HTTP/1.1 413"),
        (
            "the same, if it may come",
            post("expect: 100-continue\r\ncontent-length: 999999999", ""),
            "HTTP/1.1 413",
        ),
        ("a body of no length", post("content-length: abc", "{}"), bad),
        ("a negative length", post("content-length: -5", "{}"), bad),
        ("a length of 23 digits", post("content-length: 99999999999999999999999", "{}"), bad),
        ("two lengths", post("content-length: 2\r\ncontent-length: 3", "{} "), bad),
        ("no chunk", post("transfer-encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n"), bad),
        ("a chunk of 2^80", post("transfer-encoding: chunked", "ffffffffffffffffffff\r\n{}"), bad),
        ("a chunk that does not end", post("transfer-encoding: chunked", "2\r\n{}xx0\r\n\r\n"), bad),
        ("another transfer encoding", post("transfer-encoding: gzip", "{}"), bad),
        ("a body that may come", post("expect: 100-continue\r\ncontent-length: 2", "{}"), "HTTP/1.1 100"),
        (
            "a large header",
            get("GET /health HTTP/1.1", &format!("x: {}\r\n", "a".repeat(1_000_000))),
            "HTTP/1.1 431",
        ),
        ("a thousand headers", get("GET /health HTTP/1.1", &many), "HTTP/1.1 431"),
        ("a large path", get(&format!("GET /{} HTTP/1.1", "a".repeat(100_000)), ""), "HTTP/1.1 414"),
        ("a NUL in a header", get("GET /health HTTP/1.1", "x: a\0b\r\n"), bad),
        ("a space in a path", get("GET /v1/models/a b HTTP/1.1", ""), bad),
        ("another version", get("GET /health HTTP/9.9", ""), bad),
        ("a tunnel", get("CONNECT example.com:80 HTTP/1.1", ""), "HTTP/1.1 404"),
        ("no path", get("OPTIONS * HTTP/1.1", ""), "HTTP/1.1 404"),
        (
            "a method of 10,000 letters",
            get(&format!("{} /health HTTP/1.1", "A".repeat(10_000)), ""),
            "HTTP/1.1 405",
        ),
        (
            "TLS",
            [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[0; 100], b"\r\n\r\n"].concat(),
            bad,
        ),
    ]
}

/// What comes back, at least as much as is looked at.
fn answer(address: SocketAddr, request: &[u8], wanted: usize) -> (Duration, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let start = Instant::now();
    // The server may answer and close before it has read everything.
    drop(stream.write_all(request));
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() < wanted {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    (start.elapsed(), String::from_utf8_lossy(&bytes).into_owned())
}

/// Each is answered in time; the server lives on.
pub async fn raw(world: &World) {
    let address = world.server.address();
    for (name, request, expected) in requests() {
        let asked = tokio::task::spawn_blocking(move || {
            let tries = (0..super::TRIES).map(|_| answer(address, &request, expected.len()));
            // Others on the machine can only make it take longer.
            tries.min_by_key(|(took, _)| *took).expect("at least one try")
        });
        let (took, text) = asked.await.unwrap();
        assert!(text.starts_with(expected), "{name}: {text:.200}");
        assert!(took < super::AT_MOST, "{name} took {took:?}");
    }
}
