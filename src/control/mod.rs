//! Keeps the pool in shape: what to do is decided by [`step`], and done by [`driver`].
//!
//! [`watchdog`] finds what is frozen, for [`step`].

pub mod driver;
pub mod step;
pub mod watchdog;
