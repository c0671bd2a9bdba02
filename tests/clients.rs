//! Proves that clients that do not read, read too slowly, or never finish their request hold neither a slot nor a
//! connection for ever, and that others are served meanwhile. The engine is the fake one.

#![allow(clippy::float_cmp, reason = "the metrics count things")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{PATIENCE, World, metric};
use modelpool::units::ByteCount;
use serde_json::json;
use socket2::{Domain, Socket, Type};

const CHAT: &str = "/v1/chat/completions";
/// One server at a time: all of a process count their connections in one gauge.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A connection that can hold little that was not read.
fn connect(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&address.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// A client that asks for a long streamed answer, of several megabytes with four choices, and reads nothing of it.
fn asks_and_does_not_read(world: &World, choices: u32) -> TcpStream {
    let more = json!({ "stream": true, "ignore_eos": true, "max_tokens": 900, "logprobs": true, "top_logprobs": 20,
        "n": choices });
    let body = world.chat("hi", &more).to_string();
    let mut stream = connect(world.server.address());
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).expect("sent");
    stream
}

async fn answers(world: &World) {
    let answer = world.post(CHAT, &world.chat("hi", &json!({}))).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_that_do_not_read_and_two_hundred_half_open_ones_hold_nobody_up() {
    let _alone = ALONE.lock().await;
    let (world, _) = World::fake_with("  slots: 4", |policy| {
        policy.server.client_timeout = Duration::from_millis(500);
        policy.server.send_buffer_bytes = ByteCount(64 << 10);
    })
    .await;
    let mut half_open: Vec<_> = (0..200).map(|_| connect(world.server.address())).collect();
    for stream in &mut half_open {
        stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-le").expect("sent");
    }
    let not_reading: Vec<_> = (0..200).map(|_| asks_and_does_not_read(&world, 1)).collect();
    for _ in 0..20 {
        answers(&world).await;
    }
    // All of them lose their slot, most of them their answer: some systems keep as much for a socket.
    world.wait_for("modelpool_requests_in_flight", "", |running| running == 0.0).await;
    world.wait_for("modelpool_queue_depth", "", |waiting| waiting == 0.0).await;
    world.wait_for("modelpool_requests_total", ",outcome=\"cancelled\"", |count| count >= 100.0).await;
    // Nor do they keep their connections, whether the server waited for a write or for the bytes on their way.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while metric(&world.client, &world.url, "modelpool_connections").await > 210.0 {
        assert!(tokio::time::Instant::now() < deadline, "their connections stay open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((half_open, not_reading));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_too_slowly_is_told_why_the_answer_ends() {
    let _alone = ALONE.lock().await;
    let (world, _) =
        World::fake_with("  slots: 1", |policy| policy.server.send_buffer_bytes = ByteCount(16 << 10)).await;
    let mut slow = asks_and_does_not_read(&world, 1);
    // Its slot is free before it has read anything.
    world.wait_for("modelpool_requests_total", ",outcome=\"cancelled\"", |count| count == 1.0).await;
    answers(&world).await;
    let read = tokio::task::spawn_blocking(move || {
        let (mut text, mut buffer) = (String::new(), [0; 16384]);
        while !text.contains("\r\n0\r\n\r\n") {
            let count = slow.read(&mut buffer).expect("the rest of the stream");
            assert!(count > 0, "cut off: {}", &text[text.len().saturating_sub(300)..]);
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        text
    });
    let text = read.await.unwrap();
    assert!(
        text.contains("\"code\":\"answer_not_read\"") && !text.contains("[DONE]"),
        "{}",
        &text[text.len() - 400..]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_make_room_for_new_ones() {
    let _alone = ALONE.lock().await;
    let (world, _) = World::fake_with("  slots: 4", |policy| policy.server.max_connections = 10).await;
    let mut idle: Vec<_> = (0..30).map(|_| connect(world.server.address())).collect();
    let fresh = common::client();
    for _ in 0..5 {
        let answer =
            common::post(&fresh, &format!("{}{CHAT}", world.url), &world.chat("hi", &json!({}))).await;
        assert_eq!(answer.status(), 200);
    }
    let ended = tokio::task::spawn_blocking(move || {
        let first = &mut idle[0];
        first.read(&mut [0; 1]).is_ok_and(|count| count == 0)
    });
    assert!(ended.await.unwrap(), "the one that was idle for longest is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_for_too_long_loses_the_connection() {
    let _alone = ALONE.lock().await;
    let (world, _) = World::fake_with("  slots: 4", |policy| {
        policy.server.client_timeout = Duration::from_millis(500);
        policy.server.send_buffer_bytes = ByteCount::from_mib(64);
    })
    .await;
    let closed = "modelpool_connections_closed_total{reason=\"not_reading\"}";
    let before = metric(&world.client, &world.url, closed).await;
    let _deaf = asks_and_does_not_read(&world, 4);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while metric(&world.client, &world.url, closed).await <= before {
        assert!(tokio::time::Instant::now() < deadline, "the connection stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
