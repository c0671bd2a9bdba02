//! Headers that tell about a request's limits and time, and those in which a client gives a time.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};

use super::error::ApiError;
use crate::cache::CacheUse;
use crate::keys::limits::{Allowance, Standing};

const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");
const REQUEST_TIMEOUT: &str = "x-request-timeout";
/// What OpenAI's clients say of the time after which they give up: the one for JavaScript and the one for Python.
const CLIENT_TIMEOUTS: [&str; 2] = ["x-stainless-timeout", "x-stainless-read-timeout"];
/// The longest time that a client can give: a day. Longer ones count as that.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// What the client wants of the cache; directives that do not concern it are none of its business.
#[must_use]
pub fn cache_use(headers: &HeaderMap) -> CacheUse {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase());
    directives.fold(CacheUse::Full, |found, directive| match (directive.as_str(), found) {
        ("no-store", _) | (_, CacheUse::Bypass) => CacheUse::Bypass,
        ("no-cache", _) => CacheUse::Renew,
        (_, found) => found,
    })
}

/// Says how long it took until the answer began.
pub fn tell_time(headers: &mut HeaderMap, took: Duration) {
    headers.insert(PROCESSING, HeaderValue::from(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
}

/// Says what is left of a key's limits, as OpenAI does.
pub fn tell_limits(headers: &mut HeaderMap, standing: Standing) {
    const REQUESTS: [&str; 3] =
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
    const TOKENS: [&str; 3] =
        ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
    for (names, allowance) in [(REQUESTS, standing.requests), (TOKENS, standing.tokens)] {
        let Some(Allowance { limit, remaining, reset }) = allowance else { continue };
        let [limit_name, remaining_name, reset_name] = names.map(HeaderName::from_static);
        headers.insert(limit_name, HeaderValue::from(limit));
        headers.insert(remaining_name, HeaderValue::from(remaining));
        headers.insert(reset_name, HeaderValue::try_from(span(reset)).expect("digits and letters"));
    }
}

/// A time as OpenAI writes it: `0s`, `120ms`, `1.5s`, `6m0s`.
fn span(time: Duration) -> String {
    // Rounded up, so that who comes back then finds it.
    let millis = time.as_nanos().div_ceil(1_000_000);
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let (seconds, rest) = (millis / 1000, millis % 1000);
    match (minutes, seconds, rest) {
        (0, 0, 1..) => format!("{rest}ms"),
        (0, seconds, 0) => format!("{seconds}s"),
        (0, seconds, rest) => format!("{seconds}.{}s", format!("{rest:03}").trim_end_matches('0')),
        (minutes, seconds, _) => format!("{minutes}m{}s", seconds + u128::from(rest > 0 && seconds < 59)),
    }
}

/// The time that the client gives its request: the body's `timeout`, or the header `x-request-timeout`; for an answer that
/// is not streamed also what OpenAI's clients tell of themselves, who hear nothing until it is complete.
///
/// # Errors
///
/// [`ApiError::Invalid`] if the header is no such time.
pub fn timeout(
    of_body: Option<Duration>,
    stream: bool,
    headers: &HeaderMap,
) -> Result<Option<Duration>, ApiError> {
    if of_body.is_some() {
        return Ok(of_body);
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(text) = text(REQUEST_TIMEOUT) {
        let timeout = text.parse().ok().and_then(seconds);
        return timeout.map(Some).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            let message = format!("{REQUEST_TIMEOUT}: expected a number of seconds above 0, got {text:?}");
            ApiError::invalid(REQUEST_TIMEOUT, message)
        });
    }
    if stream {
        return Ok(None);
    }
    // What a client adds by itself is no fault of its user.
    Ok(CLIENT_TIMEOUTS.iter().find_map(|name| seconds(text(name)?.parse().ok()?)))
}

/// A time in seconds; `None` if it is none above 0.
#[must_use]
pub fn seconds(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(MAX_TIMEOUT.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_does() {
        for (nanos, text) in [
            (0, "0s"),
            (120_000_000, "120ms"),
            (119_000_001, "120ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (1_005_000_000, "1.005s"),
            (360_000_000_000, "6m0s"),
            (61_200_000_000, "1m2s"),
            (119_200_000_000, "1m59s"),
        ] {
            assert_eq!(span(Duration::from_nanos(nanos)), text, "{nanos}");
        }
    }

    #[test]
    fn only_limits_that_a_key_has_are_told() {
        let mut headers = HeaderMap::new();
        tell_limits(&mut headers, Standing::default());
        assert!(headers.is_empty());
        let tokens = Some(Allowance { limit: 600, remaining: 590, reset: Duration::from_secs(1) });
        tell_limits(&mut headers, Standing { requests: None, tokens });
        assert_eq!(headers.len(), 3);
        assert_eq!(headers["x-ratelimit-remaining-tokens"], "590");
        assert_eq!(headers["x-ratelimit-reset-tokens"], "1s");
    }

    #[test]
    fn clients_may_want_an_answer_of_their_own() {
        let of = |values: &[&'static str]| {
            let values = values.iter().map(|value| (CACHE_CONTROL, HeaderValue::from_static(value)));
            cache_use(&values.collect())
        };
        assert_eq!(of(&[]), CacheUse::Full);
        assert_eq!(of(&["max-age=0"]), CacheUse::Full);
        assert_eq!(of(&["max-age=0, No-Cache"]), CacheUse::Renew);
        assert_eq!(of(&["no-store", "no-cache"]), CacheUse::Bypass);
    }

    fn check(name: &'static str, value: &str, stream: bool, expected: Result<Option<u64>, &str>) {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        let found = timeout(None, stream, &headers).map_err(|error| error.to_string());
        assert_eq!(
            found,
            expected.map(|ms| ms.map(Duration::from_millis)).map_err(ToOwned::to_owned),
            "{value}"
        );
    }

    #[test]
    fn clients_give_a_time_in_several_ways() {
        check("x-request-timeout", "2.5", true, Ok(Some(2500)));
        check("x-request-timeout", "1e300", true, Ok(Some(86_400_000)));
        let bad = "x-request-timeout: expected a number of seconds above 0, got";
        for text in ["0", "-1", "NaN", "soon"] {
            check("x-request-timeout", text, false, Err(&format!("{bad} {text:?}")));
        }
        check("x-stainless-timeout", "600", false, Ok(Some(600_000)));
        check("x-stainless-read-timeout", "10.5", false, Ok(Some(10_500)));
        check("x-stainless-read-timeout", "never", false, Ok(None));
        check("x-stainless-timeout", "600", true, Ok(None));
        let of_body = Some(Duration::from_secs(1));
        assert_eq!(timeout(of_body, true, &HeaderMap::new()), Ok(of_body));
    }
}
