//! What a simulation came to, as a table and as JSON. PURE.

use serde_json::{Value, json};

use crate::cli::bench::table::Table;
use crate::sim::{Comparison, Machine, Outcome, Plan, Slo, Trace};

/// The columns of the comparison.
pub(super) const HEADING: [&str; 11] = [
    "",
    "in time",
    "TTFT p50",
    "p99",
    "wait p99",
    "instance-s",
    "cost",
    "GiB-s",
    "starts",
    "most",
    "refused",
];

/// A comparison, and what it is about.
pub(super) struct Report<'a> {
    pub trace: &'a Trace,
    pub slo: Slo,
    pub comparison: &'a Comparison,
    pub machine: &'a Machine,
}

impl Report<'_> {
    /// Costs as multiples of the clairvoyant plan's.
    pub fn cost(&self, instance_seconds: f64) -> f64 {
        instance_seconds / self.comparison.clairvoyant.instance_seconds.max(1e-9)
    }

    fn clairvoyant_gib_seconds(&self) -> f64 {
        let (plan, service) = (&self.comparison.clairvoyant, self.machine.service(0));
        gib(plan.instance_seconds * bytes(service.instance_bytes.0)
            + plan.worker_seconds * bytes(service.worker_bytes.0))
    }

    /// A row for each plan, below [`HEADING`].
    pub fn rows(&self) -> Vec<[String; HEADING.len()]> {
        let row = |(plan, outcome): &(Plan, Outcome)| {
            [
                plan.name().to_owned(),
                format!("{:.2} %", 100.0 * outcome.attainment()),
                format!("{:.2} s", outcome.ttft(50.0)),
                format!("{:.2} s", outcome.ttft(99.0)),
                format!("{:.2} s", outcome.wait(99.0)),
                format!("{:.0}", outcome.instance_seconds),
                format!("{:.2}", self.cost(outcome.instance_seconds)),
                format!("{:.0}", gib(outcome.byte_seconds)),
                outcome.starts.to_string(),
                outcome.peak_instances.to_string(),
                outcome.refused.to_string(),
            ]
        };
        let clairvoyant = &self.comparison.clairvoyant;
        let dash = || "-".to_owned();
        let last = [
            "clairvoyant".to_owned(),
            dash(),
            dash(),
            dash(),
            dash(),
            format!("{:.0}", clairvoyant.instance_seconds),
            "1.00".to_owned(),
            format!("{:.0}", self.clairvoyant_gib_seconds()),
            clairvoyant.starts.to_string(),
            clairvoyant.peak_instances.to_string(),
            dash(),
        ];
        self.comparison.outcomes.iter().map(row).chain([last]).collect()
    }

    /// The table.
    pub fn text(&self) -> String {
        let trace = self.trace;
        let mut table = Table::new(HEADING);
        for row in self.rows() {
            table.row(row);
        }
        format!(
            "{}: {} requests in {:.0} s; in time is a first token within {} ms\n{}",
            trace.name,
            trace.requests.len(),
            trace.length.as_secs_f64(),
            self.slo.ttft.as_millis(),
            table.text()
        )
    }

    /// The same for programs.
    pub fn json(&self) -> String {
        let row = |(plan, outcome): &(Plan, Outcome)| {
            json!({
                "plan": plan.name(),
                "slo_attainment": outcome.attainment(),
                "ttft_seconds": percentiles(|percent| outcome.ttft(percent)),
                "queue_wait_seconds": percentiles(|percent| outcome.wait(percent)),
                "instance_seconds": outcome.instance_seconds,
                "cost": self.cost(outcome.instance_seconds),
                "gib_seconds": gib(outcome.byte_seconds),
                "starts": outcome.starts,
                "drains": outcome.drains,
                "peak_instances": outcome.peak_instances,
                "refused": outcome.refused,
            })
        };
        let clairvoyant = &self.comparison.clairvoyant;
        let value = json!({
            "trace": self.trace.name,
            "requests": self.trace.requests.len(),
            "seconds": self.trace.length.as_secs_f64(),
            "slo_ttft_ms": u64::try_from(self.slo.ttft.as_millis()).unwrap_or(u64::MAX),
            "plans": self.comparison.outcomes.iter().map(row).collect::<Vec<Value>>(),
            // Of the policy; the others have no reasons.
            "timeline": self.comparison.outcomes.first().map(|(_, outcome)| {
                json!({ "stretch_seconds": outcome.stretch.as_secs_f64(), "stretches": &outcome.moments })
            }),
            "decisions": self.comparison.outcomes.first().map(|(_, outcome)| &outcome.notes),
            "clairvoyant": {
                "instance_seconds": clairvoyant.instance_seconds,
                "gib_seconds": self.clairvoyant_gib_seconds(),
                "starts": clairvoyant.starts,
                "peak_instances": clairvoyant.peak_instances,
                "mean_instances": clairvoyant.mean_instances,
            },
        });
        format!("{value:#}\n")
    }
}

fn percentiles(of: impl Fn(f64) -> f64) -> Value {
    json!({ "p50": of(50.0), "p90": of(90.0), "p99": of(99.0), "max": of(100.0) })
}

fn gib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 30)
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a machine are exact in an f64")]
fn bytes(count: u64) -> f64 {
    count as f64
}
