//! Reads and parses request bodies: bounded in size and time, with errors that name the field.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ApiError;

/// How long a body may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a body that is refused is thrown away, and for how long: who still sends hears nothing, and whose
/// connection ends meanwhile never does.
const DISCARDED_BYTES: u64 = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_millis(300);

/// Refuses a body whose headers say that it cannot be read, before it is waited for.
///
/// # Errors
///
/// [`ApiError::BodyTooLarge`] if it will be, [`ApiError::Invalid`] if it is compressed.
pub fn foresee(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text(CONTENT_LENGTH).and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > limit) {
        return Err(ApiError::BodyTooLarge { limit });
    }
    match text(CONTENT_ENCODING) {
        None | Some("identity") => Ok(()),
        Some(_) => Err(ApiError::invalid(
            "content-encoding",
            "content-encoding: this server reads no compressed bodies; send it as it is",
        )),
    }
}

/// Throws away what comes of a body that is refused, unless it is asked for only now (`expect`).
pub async fn discard<S, B>(body: S, headers: &HeaderMap)
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    if !headers.contains_key(EXPECT) {
        discard_rest(std::pin::pin!(body)).await;
    }
}

async fn discard_rest<S, B>(mut body: Pin<&mut S>)
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let all = async {
        let mut bytes = 0;
        while bytes < DISCARDED_BYTES
            && let Some(Ok(chunk)) = body.next().await
        {
            bytes += chunk.remaining() as u64;
        }
    };
    // What did not come in time is not waited for.
    drop(tokio::time::timeout(DISCARD_TIME, all).await);
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
///
/// [`ApiError::BodyTooLarge`] as soon as the limit is passed, [`ApiError::BodyTimeout`] if it does not come.
pub async fn read<S, B>(body: S, limit: u64) -> Result<BytesMut, ApiError>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let read = async {
        let mut body = std::pin::pin!(body);
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|error| ApiError::Invalid {
                param: None,
                message: format!("the body could not be read: {error}"),
            })?;
            if bytes.len() as u64 + chunk.remaining() as u64 > limit {
                discard_rest(body).await;
                return Err(ApiError::BodyTooLarge { limit });
            }
            bytes.put(&mut chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_TIMEOUT, read).await.unwrap_or(Err(ApiError::BodyTimeout(BODY_TIMEOUT)))
}

/// Parses JSON.
///
/// # Errors
///
/// [`ApiError::Invalid`] with the path of the field at fault.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let body = |message: String| ApiError::Invalid { param: None, message };
    if bytes.is_empty() {
        return Err(body("the body is empty; send a JSON object".into()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            return body(format!("the body is not a JSON object: {}", plain(&error)));
        }
        body(format!("the body is not valid JSON: {error}"))
    })
}

/// Reads typed fields out of parsed JSON.
///
/// # Errors
///
/// [`ApiError::Invalid`] with the path of the field at fault.
pub fn from_object<'de, T: Deserialize<'de>>(object: &'de Map<String, Value>) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let around = error.path().to_string();
        let inner = error.into_inner();
        let path = match (missing_field(&inner), around.as_str()) {
            // The path of this error is the object around the field.
            (Some(field), ".") => field,
            (Some(field), around) => format!("{around}.{field}"),
            (None, _) => around,
        };
        let message = format!("{path}: {}", plain(&inner));
        ApiError::Invalid { param: Some(path), message }
    })
}

/// serde's message with JSON's names for types instead of Rust's.
fn plain(error: &serde_json::Error) -> String {
    const NAMES: [(&str, &str); 8] = [
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected i64", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("expected usize", "expected a whole number"),
        ("a sequence", "an array"),
        ("sequence", "array"),
        ("expected a map", "expected an object"),
        ("map,", "object,"),
    ];
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    if missing_field(error).is_some() {
        return "missing".into();
    }
    // What a type is called here is nobody's business.
    let message = match message.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected an object"),
        None => message,
    };
    NAMES.iter().fold(message, |text, (rust, json)| text.replace(rust, json))
}

/// The field in serde's message about a missing one.
fn missing_field(error: &serde_json::Error) -> Option<String> {
    let message = error.to_string();
    let name = message.strip_prefix("missing field `")?.split('`').next()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::stream;

    #[derive(Debug, serde::Deserialize)]
    struct Sample {
        #[expect(dead_code, reason = "only its parsing is of interest")]
        list: Vec<u32>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Outer {
        #[expect(dead_code, reason = "only its parsing is of interest")]
        inner: Sample,
    }

    fn check(json: &str, param: Option<&str>, message: &str) {
        let error = parse::<Map<String, Value>>(json.as_bytes())
            .and_then(|object| from_object::<Sample>(&object))
            .unwrap_err();
        let ApiError::Invalid { param: found, message: text } = &error else { panic!("{error:?}") };
        assert_eq!(found.as_deref(), param, "{json}: {text}");
        assert!(text.contains(message), "{json}: {text}");
    }

    #[test]
    fn names_the_field_at_fault() {
        check("", None, "the body is empty");
        check("{", None, "the body is not valid JSON: EOF");
        check("[1]", None, "the body is not a JSON object: invalid type: array, expected an object");
        check("{}", Some("list"), "list: missing");
        let whole = "list[1]: invalid type: string \"x\", expected a whole number from 0 to 4294967295";
        check(r#"{"list": [1, "x"]}"#, Some("list[1]"), whole);
        check(r#"{"list": 5}"#, Some("list"), "list: invalid type: integer `5`, expected an array");
        let object = r#"{"inner": 5}"#.parse::<Value>().unwrap();
        let error = from_object::<Outer>(object.as_object().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "inner: invalid type: integer `5`, expected an object");
        check(r#"{"list": [1]} {}"#, None, "the body is not valid JSON: trailing characters");
        check(&"[".repeat(200_000), None, "");
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let chunks = |sizes: &[usize]| {
            let chunks: Vec<_> = sizes.iter().map(|n| Ok(Bytes::from(vec![b'x'; *n]))).collect();
            stream::iter(chunks)
        };
        assert_eq!(read(chunks(&[3, 4]), 7).await.unwrap().len(), 7);
        assert_eq!(read(chunks(&[3, 5]), 7).await.unwrap_err(), ApiError::BodyTooLarge { limit: 7 });
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_do_not_come_time_out() {
        let never = stream::pending::<Result<Bytes, warp::Error>>();
        assert_eq!(read(never, 7).await.unwrap_err(), ApiError::BodyTimeout(BODY_TIMEOUT));
    }
}
