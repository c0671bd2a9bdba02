//! Messages to bytes and back. PURE.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the length before each message.
const LENGTH_BYTES: usize = 4;
/// Room that the reader gives back once it is empty again.
const KEPT_BYTES: usize = 256 << 10;

/// Why a peer cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A message longer than any that there is.
    #[error("a message of {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// What the peer announced, or what was to be sent.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Bytes that are no message.
    #[error("{bytes} bytes that are no message: {reason}")]
    Garbled {
        /// How many.
        bytes: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Appends a message to `out`, as one frame.
///
/// # Errors
///
/// [`ProtocolError::TooLong`] if it exceeds `limit` bytes; `out` is then as before.
pub fn encode(message: &impl Serialize, limit: usize, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    let start = out.len();
    out.extend([0; LENGTH_BYTES]);
    let mut frame = postcard::to_extend(message, std::mem::take(out))
        .expect("messages have no maps or sequences of unknown length, and writing to memory does not fail");
    let bytes = frame.len() - start - LENGTH_BYTES;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= limit);
    if let Some(length) = length {
        frame[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    } else {
        frame.truncate(start);
    }
    *out = frame;
    length.map(|_| ()).ok_or(ProtocolError::TooLong { bytes, limit })
}

/// Collects bytes and gives messages.
#[derive(Debug)]
pub struct FrameReader {
    bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
    limit: usize,
}

impl FrameReader {
    /// A reader that refuses messages of more than `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), read: 0, limit }
    }

    /// Takes bytes as they came.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message; `None` until all of it is there.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`]; nothing that follows can be understood.
    pub fn read<M: DeserializeOwned>(&mut self) -> Result<Option<M>, ProtocolError> {
        let rest = &self.bytes[self.read..];
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            self.make_room();
            return Ok(None);
        };
        let bytes = u32::from_le_bytes(*length) as usize;
        if bytes > self.limit {
            return Err(ProtocolError::TooLong { bytes, limit: self.limit });
        }
        let Some(message) = rest.get(..bytes) else {
            self.make_room();
            return Ok(None);
        };
        let garbled = |reason: String| ProtocolError::Garbled { bytes, reason };
        let (message, unread) =
            postcard::take_from_bytes(message).map_err(|error| garbled(error.to_string()))?;
        if !unread.is_empty() {
            return Err(garbled(format!("{} bytes too many", unread.len())));
        }
        self.read += LENGTH_BYTES + bytes;
        Ok(Some(message))
    }

    /// Forgets what was read, so that the buffer holds no more than one incomplete message.
    fn make_room(&mut self) {
        self.bytes.drain(..self.read);
        self.read = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(KEPT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::WeightsSpec;
    use crate::generation::{
        Event, FinishReason, GenerationError, GenerationRequest, Loss, Prompt, Question, Reply,
        SamplingSettings, SequenceSpec, Suspicion, Usage,
    };
    use crate::ipc::{FromWorker, LoadOrder, News, ToWorker};
    use crate::policy::Split;
    use crate::units::{DeviceId, InstanceId, WorkerId};
    use proptest::prelude::*;

    fn spec() -> SequenceSpec {
        let request = GenerationRequest {
            sampling: SamplingSettings {
                temperature: 0.7,
                top_k: 40,
                top_p: 0.95,
                seed: u64::MAX,
                ..SamplingSettings::default()
            },
            max_tokens: Some(7),
            stop: vec!["\n\n".into()],
            ..GenerationRequest::new(Prompt::Text("Once upon a time, d\u{e9}j\u{e0} vu".into()))
        };
        SequenceSpec { request: Arc::new(request), generated: vec![1, 2, 300_000] }
    }

    fn to_worker() -> Vec<ToWorker> {
        use std::os::unix::ffi::OsStrExt;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(b"/models/\xff.gguf")).to_owned();
        let weights =
            WeightsSpec { path, devices: DeviceId::Gpu(3).into(), gpu_layers: Some(7), split: Split::Row };
        let order = LoadOrder::new(WorkerId(4), &weights, 2, Some(1 << 40));
        assert_eq!(order.weights(), weights);
        vec![
            ToWorker::Load(order),
            ToWorker::Run { instance: InstanceId(1), sequence: 9, spec: spec() },
            ToWorker::Ask {
                instance: InstanceId(1),
                question: 10,
                what: Arc::new(Question::Detokenize(vec![1, 2])),
            },
            ToWorker::Unload,
        ]
    }

    fn from_worker() -> Vec<FromWorker> {
        let lost = Loss::Interrupted { reason: "x".into(), suspicion: Suspicion::Alone };
        let usage = Usage { prompt_tokens: 3, cached_tokens: 1, completion_tokens: 4 };
        let news = [
            News::Event(Event::Started { prompt_tokens: 3 }),
            News::Event(Event::Token { token: 5, text: "\u{1f433}".into(), logprobs: None }),
            News::Event(Event::Finished { reason: FinishReason::Length, text: String::new(), usage }),
            News::Event(Event::Failed(GenerationError::PromptEmpty)),
            News::Lost(lost),
            News::Gone,
        ];
        let news = news.into_iter().zip(0..).map(|(news, sequence)| (sequence, news)).collect();
        vec![
            FromWorker::Hello { protocol: 1, version: "0.1.0".into() },
            FromWorker::Step { instance: InstanceId(2), news },
            FromWorker::Answer { question: 10, answer: Some(Ok(Reply::Text("x".into()))) },
            FromWorker::Answer { question: 11, answer: None },
            FromWorker::Unloaded,
        ]
    }

    fn encoded<M: Serialize>(messages: &[M]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            encode(message, 1 << 20, &mut bytes).unwrap();
        }
        bytes
    }

    fn decoded<M: DeserializeOwned>(bytes: &[u8], piece: usize) -> Result<Vec<M>, ProtocolError> {
        let mut reader = FrameReader::new(1 << 20);
        let mut messages = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.extend(piece);
            while let Some(message) = reader.read()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_survive_however_they_are_cut() {
        for piece in [1, 2, 7, 100_000] {
            assert_eq!(decoded::<ToWorker>(&encoded(&to_worker()), piece).unwrap(), to_worker());
            assert_eq!(decoded::<FromWorker>(&encoded(&from_worker()), piece).unwrap(), from_worker());
        }
    }

    #[test]
    fn messages_beyond_the_limit_are_neither_sent_nor_awaited() {
        let mut bytes = vec![7];
        let error = encode(&"x".repeat(100), 50, &mut bytes).unwrap_err();
        assert_eq!((error, bytes), (ProtocolError::TooLong { bytes: 101, limit: 50 }, vec![7]));
        let mut reader = FrameReader::new(50);
        reader.extend(&[51, 0, 0, 0]);
        let error = reader.read::<FromWorker>().unwrap_err();
        assert_eq!(error, ProtocolError::TooLong { bytes: 51, limit: 50 });
    }

    #[test]
    fn bytes_left_over_are_no_message() {
        let mut bytes = encoded(&[FromWorker::Unloaded]);
        bytes[0] += 1;
        bytes.push(0);
        assert!(matches!(decoded::<FromWorker>(&bytes, 64), Err(ProtocolError::Garbled { bytes: 2, .. })));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..300, flip in 1u8..) {
            drop(decoded::<FromWorker>(&bytes, 50));
            drop(decoded::<ToWorker>(&bytes, 50));
            let mut damaged = encoded(&from_worker());
            let at = at % damaged.len();
            damaged[at] ^= flip;
            drop(decoded::<FromWorker>(&damaged, 64));
        }
    }
}
