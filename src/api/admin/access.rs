//! Who may do what operators do.

use http::Method;

use super::super::error::ApiError;

/// What a request may do at `/admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAccess {
    /// Look, and change nothing.
    ReadOnly,
    /// All that there is.
    Full,
}

/// Whether a request may be answered: without a key for operators, only what changes nothing.
///
/// # Errors
///
/// [`ApiError::AdminKeyRequired`] if not.
pub fn admin_allowed(access: AdminAccess, method: &Method) -> Result<(), ApiError> {
    match access {
        AdminAccess::Full => Ok(()),
        AdminAccess::ReadOnly if matches!(*method, Method::GET | Method::HEAD) => Ok(()),
        AdminAccess::ReadOnly => Err(ApiError::AdminKeyRequired),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_for_operators_nothing_changes() {
        for (access, method, allowed) in [
            (AdminAccess::ReadOnly, Method::GET, true),
            (AdminAccess::ReadOnly, Method::HEAD, true),
            (AdminAccess::ReadOnly, Method::POST, false),
            (AdminAccess::ReadOnly, Method::PUT, false),
            (AdminAccess::Full, Method::PUT, true),
        ] {
            assert_eq!(admin_allowed(access, &method).is_ok(), allowed, "{access:?} {method}");
        }
    }
}
