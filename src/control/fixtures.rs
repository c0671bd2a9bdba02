//! Values that the controller's tests have in common.

use std::time::Duration;

use crate::units::{DeviceSet, InstanceId};
use crate::view::{InstanceState, InstanceView};

/// An instance of four slots on the host, which has been there for ten minutes and has nothing to do.
pub(super) fn instance(id: u64, variant: usize, state: InstanceState) -> InstanceView {
    InstanceView {
        id: InstanceId(id),
        variant,
        devices: DeviceSet::HOST,
        state,
        slots: 4,
        leased: 0,
        threads: 1,
        progress: 0,
        age: Duration::from_secs(600),
        stale: false,
    }
}
