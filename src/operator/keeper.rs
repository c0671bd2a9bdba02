//! The policy that runs, for those who read, judge or replace it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;

/// One thing to mend in a policy.
#[derive(Clone, Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub struct FileFault {
    /// Where in the document, such as `models[0].slots`; empty for the document as a whole.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong, and what to do about it.
    pub message: String,
}

/// Why a policy is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a legal policy, or names files that cannot be used; the old one stays.
    #[error("{message}")]
    Invalid {
        /// All that is wrong.
        message: String,
        /// The faults of the text, if there are any.
        faults: Vec<FileFault>,
    },
    /// The file cannot be written; the old policy stays.
    #[error("the policy's file cannot be written, the old policy stays: {0}")]
    NotWritable(String),
    /// The policy runs, but its file is still the old one.
    #[error("the policy runs, but its file could not be replaced and still has the old one: {0}")]
    NotWritten(String),
    /// The server is about to end.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// What came of a new policy.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// Whether the policy's file has it, too; otherwise it is gone with the server.
    pub written: bool,
    /// Whether something changed that is read at the start alone.
    pub restart_needed: bool,
}

/// Keeps the policy that runs.
pub trait PolicyKeeper: Send + Sync {
    /// Its YAML text, as it was read.
    fn text(&self) -> Arc<str>;

    /// Whether this text could be followed: it is legal, and its files can be used.
    fn validate(&self, text: String) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Follows this text from now on, and writes it into the policy's file if there is one.
    fn replace(&self, text: String) -> BoxFuture<'_, Result<Replaced, Refusal>>;
}
