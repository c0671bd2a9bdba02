//! Keeps the pool in shape: what to do is decided by [`step`], and done by [`driver`].
//!
//! [`watchdog`] finds what is frozen and [`threads`] divides the CPU, for [`step`].

mod census;
pub mod driver;
#[cfg(test)]
mod fixtures;
pub mod orders;
pub mod place;
mod plan;
pub mod quality;
pub mod room;
pub mod step;
pub mod threads;
pub mod watchdog;
