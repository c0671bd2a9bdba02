//! What operators see of a running server, and what they tell it: between the API and those who do it.
//!
//! In reading order: `board` (what the controller tells), `errand` (what it is told), `keeper` (the policy that runs).

mod board;
mod errand;
mod keeper;

pub use board::{ActionReport, Board, DecisionReport, InstanceReport, MAX_DECISIONS};
pub use errand::{Errand, ErrandError, ErrandOrder};
pub use keeper::{FileFault, PolicyKeeper, Refusal, Replaced};
