//! Which path and method lead where. PURE: one table; nothing else is served.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::admin::Admin;
use super::auth::Access;
use super::dialect::Dialect;
use super::error::ApiError;
use super::request::{Native, Shape};
use crate::policy::ServerPolicy;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Health,
    Live,
    Ready,
    Models,
    Model,
    Metrics,
    OpenApi,
    Embed,
    Rerank,
    Tokenize,
    Detokenize,
    ApplyTemplate,
    Generate(Shape),
    Messages,
    CountTokens,
    Responses,
    Native(Native),
    Props,
    Slots,
    Admin(Admin),
}

impl Endpoint {
    /// Who may use it.
    pub const fn access(self, policy: &ServerPolicy) -> Access {
        match self {
            Self::Health | Self::Live | Self::Ready => Access::Open,
            Self::Metrics if !policy.metrics_require_key => Access::Open,
            Self::Admin(_) => Access::Admin,
            _ => Access::User,
        }
    }

    /// How it tells errors.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Generate(shape) => shape.dialect(),
            Self::Native(path) => path.dialect(),
            Self::ApplyTemplate => Dialect::CHAT,
            Self::Messages | Self::CountTokens => Dialect::MESSAGES,
            Self::Responses => Dialect::RESPONSES,
            _ => Dialect::PLAIN,
        }
    }
}

/// One method of one path.
struct Route {
    /// The path; `{id}` at its end stands for the rest, slashes included, because models' names may have some.
    pattern: &'static str,
    method: &'static str,
    endpoint: Endpoint,
}

const fn route(method: &'static str, pattern: &'static str, endpoint: Endpoint) -> Route {
    Route { pattern, method, endpoint }
}

/// All paths with their methods. The patterns are also the labels of metrics.
const ROUTES: [Route; 31] = [
    route("GET", "/health", Endpoint::Health),
    route("GET", "/live", Endpoint::Live),
    route("GET", "/ready", Endpoint::Ready),
    route("GET", "/metrics", Endpoint::Metrics),
    route("GET", "/openapi.json", Endpoint::OpenApi),
    route("GET", "/v1/models", Endpoint::Models),
    route("GET", "/v1/models/{id}", Endpoint::Model),
    route("POST", "/v1/chat/completions", Endpoint::Generate(Shape::Chat)),
    route("POST", "/v1/completions", Endpoint::Generate(Shape::Completion)),
    route("POST", "/v1/responses", Endpoint::Responses),
    route("POST", "/v1/messages", Endpoint::Messages),
    route("POST", "/v1/messages/count_tokens", Endpoint::CountTokens),
    route("POST", "/v1/embeddings", Endpoint::Embed),
    route("POST", "/v1/rerank", Endpoint::Rerank),
    route("POST", "/rerank", Endpoint::Rerank),
    route("POST", "/completion", Endpoint::Native(Native::Completion)),
    route("POST", "/infill", Endpoint::Native(Native::Infill)),
    route("POST", "/tokenize", Endpoint::Tokenize),
    route("POST", "/detokenize", Endpoint::Detokenize),
    route("POST", "/apply-template", Endpoint::ApplyTemplate),
    route("GET", "/props", Endpoint::Props),
    route("GET", "/slots", Endpoint::Slots),
    route("GET", "/admin/instances", Endpoint::Admin(Admin::Instances)),
    route("GET", "/admin/decisions", Endpoint::Admin(Admin::Decisions)),
    route("POST", "/admin/models/load", Endpoint::Admin(Admin::Load)),
    route("POST", "/admin/models/unload", Endpoint::Admin(Admin::Unload)),
    route("POST", "/admin/models/pin", Endpoint::Admin(Admin::Pin)),
    route("POST", "/admin/drain", Endpoint::Admin(Admin::Drain)),
    route("GET", "/admin/policy", Endpoint::Admin(Admin::Policy)),
    route("PUT", "/admin/policy", Endpoint::Admin(Admin::ReplacePolicy)),
    route("POST", "/admin/policy/validate", Endpoint::Admin(Admin::ValidatePolicy)),
];

/// The end of a pattern that takes what a path has there.
const PARAMETER: &str = "{id}";

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'path> {
    pub endpoint: Endpoint,
    /// What stands in the place of the pattern's parameter, decoded; empty where it has none.
    pub parameter: Cow<'path, str>,
}

/// The pattern of a path, which is a closed set unlike the paths that clients may choose; `None` if nothing is there.
pub(super) fn pattern(path: &str) -> Option<&'static str> {
    ROUTES.iter().find(|route| parameter(route.pattern, path).is_some()).map(|route| route.pattern)
}

/// How a path tells errors, whatever the method.
pub(super) fn dialect(path: &str) -> Dialect {
    let route = ROUTES.iter().find(|route| parameter(route.pattern, path).is_some());
    route.map_or(Dialect::PLAIN, |route| route.endpoint.dialect())
}

/// All methods of all paths.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str, Endpoint)> {
    ROUTES.iter().map(|route| (route.method, route.pattern, route.endpoint))
}

/// Where a method of a path leads. Where GET does, HEAD does, too.
///
/// # Errors
///
/// [`ApiError::NotFound`] if there is no such path, [`ApiError::MethodNotAllowed`] if it has other methods.
pub(super) fn find<'path>(method: &Method, path: &'path str) -> Result<Found<'path>, ApiError> {
    let mut allowed = Vec::new();
    for route in &ROUTES {
        let Some(parameter) = parameter(route.pattern, path) else { continue };
        if method == route.method || (method == Method::HEAD && route.method == "GET") {
            // What is no UTF-8 then is no name that there is.
            let parameter = percent_decode_str(parameter).decode_utf8_lossy();
            return Ok(Found { endpoint: route.endpoint, parameter });
        }
        allowed.push(route.method);
    }
    let path = shorten(path);
    if allowed.is_empty() {
        return Err(ApiError::NotFound { path });
    }
    Err(ApiError::MethodNotAllowed { path, method: shorten(method.as_str()), allowed: allowed.join(", ") })
}

/// What a client wrote, short enough to be repeated to it.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// What a path has in the place of a pattern's parameter; empty where the pattern has none, `None` if they do not match.
fn parameter<'path>(pattern: &str, path: &'path str) -> Option<&'path str> {
    match pattern.strip_suffix(PARAMETER) {
        Some(before) => path.strip_prefix(before).filter(|rest| !rest.is_empty()),
        None => (pattern == path).then_some(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, expected: Result<(Endpoint, &str), &str>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match (find(&method, path), expected) {
            (Ok(found), Ok((endpoint, parameter))) => {
                assert_eq!((found.endpoint, found.parameter.as_ref()), (endpoint, parameter), "{path}");
            }
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{path}: {error}"),
            (found, _) => panic!("{method} {path}: {found:?}"),
        }
    }

    #[test]
    fn paths_are_exact_but_for_their_parameter() {
        check("GET", "/v1/models", Ok((Endpoint::Models, "")));
        check("GET", "/v1/models/", Err("nothing at"));
        check("GET", "/v1/models/a", Ok((Endpoint::Model, "a")));
        check("HEAD", "/v1/models/org/name:q4", Ok((Endpoint::Model, "org/name:q4")));
        check("GET", "/v1/models/org%2Fname%20x", Ok((Endpoint::Model, "org/name x")));
        check("GET", "/v1/models/%ff", Ok((Endpoint::Model, "\u{fffd}")));
        check("GET", "/v1/nothing", Err("nothing at"));
        check("PATCH", "/admin/policy", Err("takes GET, PUT, not PATCH"));
        check("POST", "/health", Err("takes GET, not POST"));
        check("HEAD", "/v1/completions", Err("takes POST, not HEAD"));
        check("POST", "/v1/messages/count_tokens", Ok((Endpoint::CountTokens, "")));
    }

    #[test]
    fn a_path_tells_its_errors_in_the_words_of_its_clients_whatever_the_method() {
        assert!(dialect("/v1/messages").is_anthropic());
        assert!(!dialect("/v1/messages/").is_anthropic());
        assert_eq!(dialect("/v1/completions"), Dialect::COMPLETION);
        assert_eq!(dialect("/health"), Dialect::PLAIN);
    }

    #[test]
    fn labels_are_patterns_and_never_what_a_client_chose() {
        assert_eq!(pattern("/v1/models/anything"), Some("/v1/models/{id}"));
        assert_eq!(pattern("/health"), Some("/health"));
        assert_eq!(pattern("/health/"), None);
    }
}
