//! `modelpool simulate --tune`: settings that cost less, as lines for the policy.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::cli::bench::table::Table;
use crate::cli::progress::Progress;
use crate::policy::ModelPolicy;
use crate::sim::{Change, Goal, Machine, Outcome, REPLAYS_MAX, Slo, Trace, changes, tune};

/// A part of the trace, and what the policy came to there.
struct Part {
    name: &'static str,
    requests: usize,
    seconds: f64,
    before: Outcome,
    after: Outcome,
}

/// What was found.
pub(super) struct Tuning {
    trace: String,
    slo: Slo,
    share: f64,
    replays: u32,
    changes: Vec<Change>,
    /// What was tuned on, and the rest, if there is one.
    parts: Vec<Part>,
}

impl Tuning {
    /// Searches on the first `fraction` of the trace.
    ///
    /// # Errors
    ///
    /// If a part of the trace has no requests.
    pub fn of(
        policies: &[Arc<ModelPolicy>],
        machine: &Machine,
        trace: &Trace,
        slo: Slo,
        share: f64,
        fraction: f64,
    ) -> anyhow::Result<Self> {
        let (first, rest) = divided(trace, fraction)?;
        let goal = Goal { machine, trace: &first, slo, share };
        let goal = Goal { share: aimed(share, goal.replay(policies).attainment()), ..goal };
        let progress = Progress::new(u64::from(REPLAYS_MAX));
        progress.begin("tuning".to_owned(), u64::from(REPLAYS_MAX));
        let tuned = tune(policies, &goal, &mut |replays, best| {
            progress.at(u64::from(replays));
            progress.say(|| format!("{} instance-s, {}", whole(best.instance_seconds), in_time(best)));
        });
        progress.end();
        let part = |name, trace: &Trace, before, after| Part {
            name,
            requests: trace.requests.len(),
            seconds: trace.length.as_secs_f64(),
            before,
            after,
        };
        let mut parts = vec![part("tuned on", &first, tuned.before, tuned.after)];
        if let Some(rest) = &rest {
            // The pool is there by then, and has learned: the whole is replayed, and the rest counts.
            let slo = Slo { from: slo.from.max(first.length), ..slo };
            let goal = Goal { trace, slo, ..goal };
            parts.push(part("the rest", rest, goal.replay(policies), goal.replay(&tuned.policies)));
        }
        let changes = changes(policies, &tuned.policies);
        Ok(Self { trace: trace.name.clone(), slo, share, replays: tuned.replays, changes, parts })
    }

    /// What it comes to, and the lines for the policy.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}: first token within {} ms for {} % of the requests; {} replays\n",
            self.trace,
            self.slo.ttft.as_millis(),
            percent(self.share),
            self.replays
        );
        let mut table =
            Table::new(["", "requests", "", "in time", "TTFT p99", "instance-s", "starts", "most"]);
        for part in &self.parts {
            for (name, outcome) in [("before", &part.before), ("after", &part.after)] {
                table.row([
                    part.name.to_owned(),
                    part.requests.to_string(),
                    name.to_owned(),
                    in_time(outcome),
                    format!("{:.2} s", outcome.ttft(99.0)),
                    whole(outcome.instance_seconds),
                    outcome.starts.to_string(),
                    outcome.peak_instances.to_string(),
                ]);
            }
        }
        text.push_str(&table.text());
        text.push('\n');
        if !self.is_kept(&self.parts[0].after) {
            text.push_str("# Nothing that was tried serves enough requests in time; this comes nearest.\n");
        }
        text.push_str(&self.yaml());
        text
    }

    fn is_kept(&self, outcome: &Outcome) -> bool {
        outcome.attainment() >= self.share
    }

    /// The keys that change, as a part of a policy, with what they were.
    fn yaml(&self) -> String {
        if self.changes.is_empty() {
            return "# Nothing to change: no other setting that was tried is better.\n".to_owned();
        }
        let mut text = "models:\n".to_owned();
        let mut models = BTreeSet::new();
        for Change { model, key, old, new } in &self.changes {
            if models.insert(model.as_str()) {
                let _ = write!(text, "  - name: {}\n    scale:\n", scalar(model.as_str()));
            }
            let _ = writeln!(text, "      {key}: {new}  # was {old}");
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> String {
        let outcome = |outcome: &Outcome| {
            json!({
                "slo_attainment": outcome.attainment(),
                "ttft_p99_seconds": outcome.ttft(99.0),
                "instance_seconds": outcome.instance_seconds,
                "starts": outcome.starts,
                "peak_instances": outcome.peak_instances,
            })
        };
        let part = |part: &Part| {
            json!({
                "requests": part.requests,
                "seconds": part.seconds,
                "before": outcome(&part.before),
                "after": outcome(&part.after),
            })
        };
        let change = |change: &Change| json!({ "model": change.model.as_str(), "key": change.key, "old": change.old, "new": change.new });
        let value = json!({
            "trace": self.trace,
            "slo_ttft_ms": u64::try_from(self.slo.ttft.as_millis()).unwrap_or(u64::MAX),
            "slo_share": self.share,
            "replays": self.replays,
            "slo_kept": self.is_kept(&self.parts[0].after),
            "tuned_on": self.parts.first().map(part),
            "rest": self.parts.get(1).map(part),
            "changes": self.changes.iter().map(change).collect::<Vec<Value>>(),
        });
        format!("{value:#}\n")
    }
}

/// Part of the way from the share that is wanted to all requests that the search keeps clear of: other traffic of the same
/// kind is served a little worse.
const CLEARANCE: f64 = 0.3;

/// The share that the search keeps to: a little more than is wanted, if the policy as it is reaches that.
fn aimed(share: f64, reached: f64) -> f64 {
    (share + CLEARANCE * (1.0 - share)).min(reached).max(share)
}

/// The part to tune on, and the rest; there is none if that is all.
fn divided(trace: &Trace, fraction: f64) -> anyhow::Result<(Trace, Option<Trace>)> {
    if fraction >= 1.0 {
        return Ok((trace.clone(), None));
    }
    let at = trace.length.mul_f64(fraction);
    // The last request comes at the very end.
    let end = trace.length + Duration::from_nanos(1);
    let (first, rest) = (trace.part(Duration::ZERO, at), trace.part(at, end));
    let both = !first.requests.is_empty() && !rest.requests.is_empty();
    ensure!(both, "{}: --tune-on {fraction} leaves no request on one side; choose another part", trace.name);
    Ok((first, Some(rest)))
}

/// A model's name as a value in YAML. Names have letters, digits and . _ : / - alone; those that could be read as
/// something else get quotes.
fn scalar(name: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_text = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.ends_with(':');
    let is_word = WORDS.iter().any(|word| name.eq_ignore_ascii_case(word));
    if is_text && !is_word { name.to_owned() } else { format!("\"{name}\"") }
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn in_time(outcome: &Outcome) -> String {
    format!("{:.2} %", 100.0 * outcome.attainment())
}

/// A share in per cent, without digits that say nothing.
fn percent(share: f64) -> String {
    let text = format!("{:.3}", 100.0 * share);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::Policy;
    use crate::sim::{Service, Shape};

    fn machine() -> Machine {
        Machine { services: vec![Service::default()], gpus: 1, memory: None }
    }

    fn tuning(text: &str, fraction: f64) -> anyhow::Result<Tuning> {
        let policy = Policy::parse(text, "the test", Path::new(".")).expect("a legal policy");
        let trace = Shape::Burst.trace(1200.0, 1.0, 1);
        let slo = Slo { ttft: Duration::from_secs(2), from: Duration::ZERO };
        Tuning::of(&policy.models, &machine(), &trace, slo, 0.5, fraction)
    }

    /// With the lines that are printed, the policy is the one that was found.
    #[test]
    fn the_lines_fit_into_the_policy() {
        let text = "models:\n- name: '8:b'\n  variants: [path: m.gguf]\n  scale: {max_instances: 16, scale_down_after_ms: 240000}\n";
        let tuning = tuning(text, 0.5).unwrap();
        let yaml = tuning.yaml();
        assert!(
            yaml.starts_with("models:\n  - name: \"8:b\"\n    scale:\n      scale_down_after_ms: "),
            "{yaml}"
        );
        assert!(yaml.contains("# was 240000\n"), "{yaml}");
        let applied = yaml.replacen("    scale:", "    variants: [path: m.gguf]\n    scale:", 1);
        let policy = Policy::parse(&applied, "the test", Path::new(".")).expect("lines of a policy");
        for Change { key, new, .. } in &tuning.changes {
            let parameter = crate::sim::PARAMETERS.iter().find(|parameter| parameter.key == *key).unwrap();
            assert_eq!((parameter.yaml)((parameter.get)(&policy.models[0].scale)), *new);
        }
        let all = tuning.text();
        assert!(all.contains("the rest") && all.contains("within 2000 ms for 50 %"), "{all}");
        let json: Value = serde_json::from_str(&tuning.json()).unwrap();
        assert_eq!(json["changes"].as_array().unwrap().len(), tuning.changes.len());
        assert_eq!(json["slo_kept"], true);
        let requests = |part: &str| json[part]["requests"].as_u64().unwrap();
        let whole = Shape::Burst.trace(1200.0, 1.0, 1).requests.len();
        assert_eq!(requests("tuned_on") + requests("rest"), whole as u64);
    }

    #[test]
    fn a_part_without_requests_is_refused() {
        let error = tuning("models: [{name: m, variants: [path: m.gguf]}]", 1e-9).err().unwrap();
        assert!(error.to_string().contains("--tune-on"), "{error}");
    }

    #[test]
    fn names_that_are_no_text_in_yaml_get_quotes() {
        for (name, expected) in [
            ("llama-3.1:8b", "llama-3.1:8b"),
            ("7b", "\"7b\""),
            ("Null", "\"Null\""),
            ("a:", "\"a:\""),
            ("-a", "\"-a\""),
        ] {
            assert_eq!(scalar(name), expected);
        }
        assert_eq!([0.99, 0.5, 1.0, 0.9995].map(percent), ["99", "50", "100", "99.95"]);
    }
}
