//! Which pages of other origins may read answers in a browser (the Fetch standard's CORS protocol).

use std::time::Duration;

use http::Method;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may remember what it was told.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// What pages may read besides the few headers that they always may.
const EXPOSED: [&str; 10] = [
    "x-request-id",
    "openai-processing-ms",
    "x-modelpool-instance",
    "x-modelpool-variant",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// Answers preflight requests and marks answers for these origins, or for all if one is `*`; `None` if there are none.
#[must_use]
pub fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let exposed = EXPOSED.map(HeaderName::from_static).into_iter().chain([RETRY_AFTER]);
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        // A wildcard would not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.collect::<Vec<_>>())
        .max_age(MAX_AGE);
    Some(layer)
}
