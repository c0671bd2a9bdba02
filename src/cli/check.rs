//! `modelpool check FILE`: validates a policy and the files that it names, and predicts what they will take.

use std::fmt::Write;
use std::path::Path;

use super::bench::table::Table;
use super::print;
use super::server::{faults, read_catalog, usable_cpu_threads};
use crate::catalog::{CatalogModel, CatalogVariant};
use crate::engine::llama::compute_devices;
use crate::fleet::PredictedBytes;
use crate::gpu::{self, DeviceMemory};
use crate::measured::{Key, Remembered};
use crate::policy::{ApiKeys, DevicesPolicy, ModelPolicy, Policy};
use crate::units::{ByteCount, DeviceId};
use crate::view::Takes;

/// What stands where nothing is known.
const UNKNOWN: &str = "-";

/// Prints what the policy serves, and what that will take of this machine.
///
/// # Errors
///
/// All faults of the policy at once, then those of its file of API keys; then all models whose files cannot be used.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let policy = Policy::from_file(file)?;
    let keys = policy.server.api_keys_file.as_deref().map(ApiKeys::from_file).transpose()?;
    let catalog = read_catalog(&policy)?;
    if !catalog.broken.is_empty() {
        anyhow::bail!("{}", faults(&catalog.broken));
    }
    let machine = Machine {
        devices: compute_devices(),
        memory: gpu::system().read(&[]),
        remembered: Remembered::of_user(),
        policy: policy.devices.clone(),
        cpu_threads: usable_cpu_threads(&policy),
    };
    let mut text = format!("{}: valid\n", file.display());
    for model in &catalog.models {
        machine.describe(model, &mut text)?;
    }
    if let Some(keys) = keys {
        let keys = keys.into_keys();
        let admins = keys.iter().filter(|key| key.admin).count();
        writeln!(text, "  API keys: {}, of operators: {admins}", keys.len())?;
    }
    print(&text);
    Ok(())
}

/// What there is to place instances on.
struct Machine {
    devices: Vec<DeviceId>,
    memory: Vec<DeviceMemory>,
    remembered: Remembered,
    policy: DevicesPolicy,
    cpu_threads: u32,
}

impl Machine {
    fn describe(&self, model: &CatalogModel, text: &mut String) -> std::fmt::Result {
        let policy = &model.policy;
        let (scale, threads) = (&policy.scale, self.cpu_threads);
        writeln!(
            text,
            "  {}: {} to {} instances of {} slots with {} tokens each",
            policy.name, scale.min_instances, scale.max_instances, policy.slots, policy.context_tokens
        )?;
        if !self.has_gpus() && scale.max_instances > threads {
            writeln!(
                text,
                "    note: {threads} CPU threads and no GPU: no more than {threads} instances run at once"
            )?;
        }
        for line in self.table(model).text().lines() {
            writeln!(text, "    {line}")?;
        }
        Ok(())
    }

    /// Bytes of each variant's worker and of each of its instances, as predicted and as measured, and how many instances
    /// there is room for.
    fn table(&self, model: &CatalogModel) -> Table {
        let columns = ["variant", "worker", "KV cache", "compute", "fit now"];
        let mut table = Table::new(columns.into_iter().chain(self.has_gpus().then_some("measured")));
        let most = model.policy.scale.max_instances;
        for variant in &model.variants {
            let device = self.devices.first().copied().unwrap_or(DeviceId::Host);
            let footprint = variant.footprint(device);
            let parts = [footprint.worker, footprint.kv_cache, footprint.compute].map(|part| part.at(device));
            let fit = self.fit(variant, &model.policy).map_or(UNKNOWN.to_owned(), |fit| {
                let most_at_once = if self.has_gpus() { most } else { most.min(self.cpu_threads) };
                format!("{} of {most}", fit.min(most_at_once.into()))
            });
            let mut cells = vec![variant.name.to_string()];
            cells.extend(parts.map(|part| part.to_string()));
            cells.push(fit);
            if self.has_gpus() {
                let measured =
                    self.devices.iter().find_map(|device| self.measured(variant, &model.policy, *device));
                cells.push(measured.map_or(UNKNOWN.to_owned(), |takes| {
                    format!("{} + {} each", takes.worker, takes.instance)
                }));
            }
            table.row(cells);
        }
        table
    }

    fn has_gpus(&self) -> bool {
        self.devices != [DeviceId::Host]
    }

    fn of(&self, device: DeviceId) -> Option<&DeviceMemory> {
        self.memory.iter().find(|memory| memory.device == device)
    }

    fn measured(&self, variant: &CatalogVariant, policy: &ModelPolicy, device: DeviceId) -> Option<Takes> {
        let key = Key::new(variant, policy, (device.into(), &self.of(device)?.name))?;
        self.remembered.takes(&key, variant.footprint(device).takes(device))
    }

    /// Instances that fit into what may be taken now, on all devices together; `None` if one cannot be read.
    fn fit(&self, variant: &CatalogVariant, policy: &ModelPolicy) -> Option<u64> {
        let on_each = self.devices.iter().map(|device| {
            let takes = self.measured(variant, policy, *device);
            let takes = takes.unwrap_or_else(|| variant.footprint(*device).takes(*device));
            let available = PredictedBytes::default().leaves(self.of(*device)?, &self.policy);
            Some(instances_in(available, takes))
        });
        on_each.sum()
    }
}

/// Instances that fit, with one worker for all of them.
fn instances_in(available: ByteCount, takes: Takes) -> u64 {
    available.saturating_sub(takes.worker).0 / takes.instance.0.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_share_a_worker() {
        let takes = Takes { worker: ByteCount(100), instance: ByteCount(30) };
        for (available, expected) in [(0, 0), (100, 0), (129, 0), (130, 1), (189, 2), (190, 3)] {
            assert_eq!(instances_in(ByteCount(available), takes), expected, "{available}");
        }
    }
}
