//! `modelpool check FILE`: validates a policy and the files that it names.

use std::path::Path;

use super::server::{read_catalog, usable_cpu_threads};
use crate::engine::llama::compute_devices;
use crate::policy::Policy;
use crate::units::DeviceId;

/// Prints what the policy serves.
///
/// # Errors
///
/// All faults of the policy at once; then the first model file that cannot be used.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let policy = Policy::from_file(file)?;
    let catalog = read_catalog(&policy)?;
    println!("{}: valid", file.display());
    for model in &catalog.models {
        let scale = &model.policy.scale;
        println!(
            "  {}: {} to {} instances of {} slots with {} tokens each",
            model.policy.name,
            scale.min_instances,
            scale.max_instances,
            model.policy.slots,
            model.policy.context_tokens
        );
        let threads = usable_cpu_threads(&policy);
        if scale.max_instances > threads && compute_devices() == [DeviceId::Host] {
            println!(
                "    note: {threads} CPU threads and no GPU: no more than {threads} instances run at once"
            );
        }
        for variant in &model.variants {
            println!(
                "    {}: weights {}, each instance about {} more",
                variant.name, variant.weights_bytes, variant.instance_bytes
            );
        }
    }
    Ok(())
}
