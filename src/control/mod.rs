//! Keeps the pool as large as its traffic needs: observe, step, act.
//!
//! [`step`] is pure and decides; [`driver`] reads the world, asks `step`, and acts through the fleet.

pub mod driver;
pub mod step;
