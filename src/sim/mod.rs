//! Replays traffic against a policy in virtual time: the server's own decisions, with a model of the machine in the place
//! of llama.cpp.
//!
//! PURE: takes policies, a trace and what is known of the machine; gives what clients would have seen and what it would
//! have cost. The controller's step, the choice of the instance and the queue are those of the server
//! ([`crate::control::step`], [`crate::dispatch`], [`crate::admission::queue`]); other ways to scale stand beside it for
//! comparison (`rules.rs`, `clairvoyant.rs`).

mod clairvoyant;
mod engine;
mod host;
mod outcome;
mod plan;
mod rules;
mod service;
mod synthetic;
mod trace;
mod tune;
mod world;

pub use clairvoyant::Clairvoyant;
pub use outcome::{Moment, Note, Outcome, Slo};
pub use plan::{Comparison, Plan, compare, replay};
pub use service::Service;
pub use synthetic::Shape;
pub use trace::{Request, Trace, TraceError};
pub use tune::{Change, Goal, PARAMETERS, Parameter, REPLAYS_MAX, Tuned, changes, tune};
pub use world::Machine;
