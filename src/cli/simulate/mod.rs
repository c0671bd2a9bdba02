//! `modelpool simulate`: what a policy would do with traffic, before the traffic comes.

mod arguments;
mod file;
mod html;
mod report;
mod tuning;

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

pub(super) use arguments::SimulateArguments;

use super::{DEFAULT_POLICY, print};
use crate::policy::{ModelPolicy, Policy};
use crate::sim::{Machine, Plan, Service, Slo, Trace, compare};

/// What the policy is called that is in the program.
const BUILT_IN: &str = "the built-in policy";

/// Simulates and prints.
///
/// # Errors
///
/// A policy, a trace or a description of the machine that cannot be used.
pub(super) fn run(arguments: &SimulateArguments) -> anyhow::Result<ExitCode> {
    let policy = match &arguments.policy {
        Some(file) => Policy::from_file(file)?,
        None => Policy::parse(DEFAULT_POLICY, BUILT_IN, std::path::Path::new("."))?,
    };
    let policies = adjusted(&policy, arguments);
    let mut trace = trace(arguments, &policies)?;
    trace.began = arguments.begins.unwrap_or(trace.began);
    trace.length += Duration::from_secs_f64(arguments.tail_seconds);
    let machine = machine(arguments, &policy)?;
    let slo = Slo {
        ttft: Duration::from_millis(arguments.slo_ttft_ms),
        from: Duration::from_secs_f64(arguments.count_from),
    };
    if arguments.tune {
        let share = arguments.slo_share;
        let tuning = tuning::Tuning::of(&policies, &machine, &trace, slo, share, arguments.tune_on)?;
        print(&if arguments.json { tuning.json() } else { tuning.text() });
        return Ok(ExitCode::SUCCESS);
    }
    // The others decide for one model alone.
    let plans = if policies.len() == 1 { &Plan::ALL[..] } else { &[Plan::Policy] };
    let comparison = compare(plans, &policies, &machine, &trace, slo);
    let report = report::Report { trace: &trace, slo, comparison: &comparison, machine: &machine };
    if let Some(file) = &arguments.html {
        let named = arguments.policy.as_ref().map(|file| file.display().to_string());
        let page =
            html::Page { policy: named.as_deref().unwrap_or(BUILT_IN), policies: &policies, report: &report };
        file::write(file, &page.text())?;
        eprintln!("report: {}", file.display());
    }
    print(&if arguments.json { report.json() } else { report.text() });
    Ok(ExitCode::SUCCESS)
}

/// The policies, with what the command line says of their size.
fn adjusted(policy: &Policy, arguments: &SimulateArguments) -> Vec<Arc<ModelPolicy>> {
    let adjust = |model: &Arc<ModelPolicy>| {
        let mut model = ModelPolicy::clone(model);
        model.slots = arguments.slots.unwrap_or(model.slots);
        model.scale.max_instances = arguments.max_instances.unwrap_or(model.scale.max_instances);
        model.scale.min_instances = model.scale.min_instances.min(model.scale.max_instances);
        // Where the memory lies is the simulated machine's matter.
        model.devices = None;
        Arc::new(model)
    };
    policy.models.iter().map(adjust).collect()
}

fn trace(arguments: &SimulateArguments, policies: &[Arc<ModelPolicy>]) -> anyhow::Result<Trace> {
    if let Some(file) = &arguments.trace {
        let name = file.display().to_string();
        let text = File::open(file).with_context(|| format!("cannot open {name}"))?;
        let models: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
        return Ok(Trace::read(BufReader::new(text), &name, &models)?);
    }
    let shape = arguments.synthetic.context("--trace or --synthetic says what to replay")?;
    Ok(shape.trace(arguments.seconds, arguments.rate, arguments.seed))
}

fn machine(arguments: &SimulateArguments, policy: &Policy) -> anyhow::Result<Machine> {
    let mut services = match &arguments.machine {
        Some(file) => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
            let services: Vec<Service> = serde_json::from_str(&text).with_context(|| name.clone())?;
            anyhow::ensure!(!services.is_empty(), "{name}: expected at least one variant");
            services
        }
        None => vec![Service::default()],
    };
    for service in &mut services {
        service.load_seconds = arguments.load_seconds.unwrap_or(service.load_seconds);
        service.instance_seconds =
            arguments.instance_seconds.or(arguments.load_seconds).unwrap_or(service.instance_seconds);
        if let Some(fault) = service.fault() {
            anyhow::bail!("the machine: {fault}");
        }
    }
    let memory = arguments.memory.map(|memory| memory.saturating_sub(policy.devices.headroom(memory)));
    Ok(Machine { services, gpus: arguments.gpus, memory })
}
