//! One worker's process from its start to its end: reads what it tells, writes what it is told, and finds out why it
//! ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::Connection;
use super::log::Log;
use crate::ipc::{self, FrameReader};
use crate::units::InstanceId;
use crate::worker::exit::{Ended, Evidence, ExitReason, Kill, classify};
use crate::worker::oom::oom_kills;
use crate::worker::{WorkerEnd, WorkerEvent};

/// What a process gets to end in after it closed its socket or was killed. The kernel needs time for a large one.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// What the rest of its log gets to arrive in.
const LOG_PATIENCE: Duration = Duration::from_millis(500);

/// Sees to a worker until its process has ended.
pub(super) async fn run(
    mut child: Child,
    connection: Arc<Connection>,
    stream: UnixStream,
    outbox: mpsc::Receiver<Vec<u8>>,
    mut kills: mpsc::UnboundedReceiver<(Kill, Option<InstanceId>)>,
) {
    let mut guard = Guard(Some(Arc::clone(&connection)));
    let oom_before = oom_kills(Path::new("/"));
    let log = Log::new(connection.worker);
    let logging = child.stderr.take().map(|stderr| tokio::spawn(log.clone().forward(stderr)));
    let (reader, writer) = stream.into_split();
    let writing = tokio::spawn(write(writer, outbox));
    let (kill, suspect) = tokio::select! {
        fault = read(&connection, reader) => (fault.map(|fault| Kill::Protocol { fault }), None),
        Some((kill, suspect)) = kills.recv() => (Some(kill), suspect),
    };
    let said = connection.close();
    writing.abort();
    if kill.is_some() {
        drop(child.start_kill());
    }
    let ended = wait(&mut child).await;
    if let Some(logging) = logging {
        drop(timeout(LOG_PATIENCE, logging).await);
    }
    let reason = classify(&Evidence {
        ended,
        killed: kill.as_ref(),
        last_lines: &log.last_lines(),
        oom_kills: oom_kills(Path::new("/")).saturating_sub(oom_before),
    });
    let end = match (said, &kill) {
        (Some(end), None) => end,
        (_, Some(Kill::Shutdown)) => WorkerEnd::Unloaded,
        _ => WorkerEnd::Died(reason.clone()),
    };
    connection.tell(WorkerEvent::Ended { worker: connection.worker, end });
    connection.lose_all(&reason, suspect);
    guard.0 = None;
    // One that takes longer to go is still seen to its end.
    drop(child.wait().await);
}

/// Should this task end in a way that nobody thought of, the worker is gone all the same (its handle ends it), and its
/// requests must not wait for it.
struct Guard(Option<Arc<Connection>>);

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(connection) = self.0.take() else { return };
        let fault = "the task that sees to it failed; see the log".into();
        let reason = ExitReason::EndedByServer(Kill::Protocol { fault });
        connection.close();
        let end = WorkerEnd::Died(reason.clone());
        connection.tell(WorkerEvent::Ended { worker: connection.worker, end });
        connection.lose_all(&reason, None);
    }
}

/// Passes on what the worker tells until it closes the socket; then nothing, or why it is not understood.
async fn read(connection: &Arc<Connection>, mut stream: OwnedReadHalf) -> Option<String> {
    let mut frames = FrameReader::new(ipc::MAX_BYTES_FROM_WORKER);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => frames.extend(&buffer[..count]),
        }
        loop {
            let received = frames.read().and_then(|message| match message {
                Some(message) => connection.receive(message).map(|()| true),
                None => Ok(false),
            });
            match received {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => return Some(fault.to_string()),
            }
        }
    }
}

async fn write(mut stream: OwnedWriteHalf, mut outbox: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = outbox.recv().await {
        if stream.write_all(&frame).await.is_err() {
            // The reader sees the end as well, and knows what to do.
            return;
        }
    }
}

/// How the process ended. One that closed its socket and lives on is of no use.
async fn wait(child: &mut Child) -> Ended {
    for _ in 0..2 {
        if let Ok(status) = timeout(END_PATIENCE, child.wait()).await {
            return status.map_or(Ended::Unknown, Ended::from);
        }
        drop(child.start_kill());
    }
    Ended::Unknown
}
