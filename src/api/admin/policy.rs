//! `/admin/policy`: the policy that runs, as YAML.

use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Serialize;
use warp::reply::{Reply, Response};

use crate::api::Api;
use crate::api::error::ApiError;
use crate::operator::{FileFault, Refusal};

/// Whether a policy can be followed.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Verdict {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    faults: Vec<FileFault>,
}

impl Api {
    /// The text as it was read.
    pub(super) fn show_policy(&self) -> Response {
        let text = self.operation.keeper.text().to_string();
        warp::reply::with_header(text, CONTENT_TYPE, "application/yaml").into_response()
    }

    /// Says what is wrong with a policy, and follows none.
    pub(super) async fn validate_policy(&self, bytes: &[u8]) -> Result<Response, ApiError> {
        let verdict = match self.operation.keeper.validate(text(bytes)?).await {
            Ok(()) => Verdict { valid: true, message: None, faults: Vec::new() },
            Err(Refusal::Invalid { message, faults }) => {
                Verdict { valid: false, message: Some(message), faults }
            }
            Err(other) => return Err(ApiError::Policy(other)),
        };
        Ok(warp::reply::json(&verdict).into_response())
    }

    /// Follows another policy.
    pub(super) async fn replace_policy(&self, bytes: &[u8]) -> Result<Response, ApiError> {
        let replaced = self.operation.keeper.replace(text(bytes)?).await.map_err(ApiError::Policy)?;
        Ok(warp::reply::json(&replaced).into_response())
    }
}

fn text(bytes: &[u8]) -> Result<String, ApiError> {
    let invalid = |message: String| ApiError::Invalid { param: None, message };
    if bytes.is_empty() {
        return Err(invalid("the body is empty; send the policy as YAML text".into()));
    }
    String::from_utf8(bytes.to_vec()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        invalid(format!("the body is not UTF-8 text (byte {at}); send the policy as YAML text"))
    })
}
