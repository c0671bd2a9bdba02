//! Where a server is. PURE.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// A server's address, as `--url` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// A name or an IP address.
    pub host: String,
    pub port: u16,
    /// Host and port as they are written in a request.
    pub authority: String,
    /// What all paths begin with; empty, or `/` and something.
    pub prefix: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a URL such as http://127.0.0.1:8080";
        let uri: Uri = text.parse().map_err(|error| format!("{error}; {expected}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("https is not spoken; give the server's http address".into()),
            _ => return Err(expected.into()),
        }
        let authority = uri.authority().ok_or(expected)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(format!("neither a user nor a query can be given; {expected}"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(80);
        // The base URL of OpenAI's libraries ends with it.
        let path = uri.path().trim_end_matches('/');
        let prefix = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        Ok(Self { host, port, authority: authority.to_string(), prefix })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_and_without_what_may_be_left_out() {
        for (text, host, port, printed) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, "http://127.0.0.1:8080"),
            ("http://localhost/", "localhost", 80, "http://localhost"),
            ("http://[::1]:9/v1", "::1", 9, "http://[::1]:9"),
            ("http://host:1/models/v1/", "host", 1, "http://host:1/models"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, port), "{text}");
            assert_eq!(target.to_string(), printed);
        }
        for text in
            ["", "127.0.0.1:8080", "localhost", "https://a", "ftp://a", "http://", "http://u@a", "http://a?b"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
