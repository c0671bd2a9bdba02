//! `modelpool check FILE`: validates a policy and the files that it names.

use std::fmt::Write;
use std::path::Path;

use super::print;
use super::server::{faults, read_catalog, usable_cpu_threads};
use crate::catalog::CatalogModel;
use crate::engine::llama::compute_devices;
use crate::policy::Policy;
use crate::units::DeviceId;

/// Prints what the policy serves.
///
/// # Errors
///
/// All faults of the policy at once; then all models whose files cannot be used.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let policy = Policy::from_file(file)?;
    let catalog = read_catalog(&policy)?;
    if !catalog.broken.is_empty() {
        anyhow::bail!("{}", faults(&catalog.broken));
    }
    let cpu_only = compute_devices() == [DeviceId::Host];
    let most_on_cpu = cpu_only.then(|| usable_cpu_threads(&policy));
    let mut text = format!("{}: valid\n", file.display());
    for model in &catalog.models {
        describe(model, most_on_cpu, &mut text)?;
    }
    print(&text);
    Ok(())
}

/// `most_on_cpu`: instances that can compute at once, if there is no GPU.
fn describe(model: &CatalogModel, most_on_cpu: Option<u32>, text: &mut String) -> std::fmt::Result {
    let policy = &model.policy;
    let scale = &policy.scale;
    writeln!(
        text,
        "  {}: {} to {} instances of {} slots with {} tokens each",
        policy.name, scale.min_instances, scale.max_instances, policy.slots, policy.context_tokens
    )?;
    if let Some(threads) = most_on_cpu.filter(|threads| scale.max_instances > *threads) {
        writeln!(
            text,
            "    note: {threads} CPU threads and no GPU: no more than {threads} instances run at once"
        )?;
    }
    for variant in &model.variants {
        writeln!(
            text,
            "    {}: weights {}, each instance about {} more",
            variant.name, variant.weights_bytes, variant.instance_bytes
        )?;
    }
    Ok(())
}
