//! `modelpool` serves GGUF models to bursty traffic on a single host.
//!
//! The modules in reading order; docs/architecture.md says how a request and how capacity flow through them. Each
//! imports only modules of lower levels, which `tests/architecture.rs` checks.

pub mod random;
pub mod units;

pub mod clock;
pub mod embedded;
pub mod generation;
pub mod gguf;
pub mod policy;
pub mod quantization;
pub mod view;

pub mod batching;
pub mod chat;
pub mod dispatch;
pub mod grammar;
pub mod sampling;
pub mod scaling;

pub mod catalog;
pub mod engine;
pub mod gpu;
pub mod ipc;
pub mod keys;
pub mod measured;
pub mod operator;
pub mod pool;
pub mod telemetry;

pub mod admission;
pub mod cache;
pub mod fleet;
pub mod worker;

pub mod control;
pub mod sim;

pub mod api;

pub mod cli;
