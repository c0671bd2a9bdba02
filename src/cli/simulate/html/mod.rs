//! A simulation as a page: one HTML file that needs no network and no library. PURE.
//!
//! What comes from files goes through [`text::escaped`]. A browser that keeps to the page's policy for content loads nothing.

mod axis;
mod chart;
mod charts;
mod marks;
mod tables;
mod text;

use std::fmt::Write as _;
use std::sync::Arc;

use super::report::Report;
use crate::policy::ModelPolicy;
use crate::sim::Outcome;
use charts::Charts;
use text::{escaped, grouped, round_time, short, taken};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("hover.js");

/// What the page is about.
pub(super) struct Page<'a> {
    /// The policy's file.
    pub policy: &'a str,
    /// Its models.
    pub policies: &'a [Arc<ModelPolicy>],
    /// What came of it; the first plan is the policy.
    pub report: &'a Report<'a>,
}

impl Page<'_> {
    /// The page.
    pub fn text(&self) -> String {
        let Report { trace, slo, comparison, .. } = self.report;
        let (_, outcome) = comparison.outcomes.first().expect("the policy is always replayed");
        let with_models = self.policies.len() > 1;
        let mut page = String::new();
        let _ = write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'\">\n\
             <title>{policy} on {trace} – modelpool simulate</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
            policy = escaped(self.policy),
            trace = escaped(&trace.name),
        );
        page.push_str(&self.header());
        page.push_str("<main>\n");
        page.push_str(&self.figures(outcome));
        page.push_str(&Charts::new(outcome, self.policies, *slo, trace.length).html());
        page.push_str(&tables::comparison(self.report));
        page.push_str(&tables::decisions(outcome, with_models));
        let _ = write!(
            page,
            "</main>\n<footer>modelpool {}</footer>\n<div class=\"tip\" role=\"status\" hidden></div>\n\
             <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        );
        page
    }

    fn header(&self) -> String {
        let Report { trace, slo, .. } = self.report;
        let models =
            self.policies.iter().map(|policy| escaped(policy.name.as_str())).collect::<Vec<_>>().join(", ");
        let mut text =
            String::from("<header>\n<h1>What this policy would have done</h1>\n<dl class=\"facts\">\n");
        for (name, value) in [
            ("Policy", escaped(self.policy)),
            (if self.policies.len() > 1 { "Models" } else { "Model" }, models),
            ("Trace", escaped(&trace.name)),
            ("Requests", grouped(trace.requests.len() as u64)),
            ("Length", round_time(trace.length.as_secs_f64())),
            ("SLO", format!("first token within {}", taken(slo.ttft.as_secs_f64()))),
        ] {
            let _ = writeln!(text, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        text.push_str("</dl>\n</header>\n");
        text
    }

    /// What it came to, in large figures.
    fn figures(&self, outcome: &Outcome) -> String {
        let cost = self.report.cost(outcome.instance_seconds);
        let mut text = String::from("<dl class=\"figures\">\n");
        for (name, value, unit) in [
            ("in time", format!("{:.2}", 100.0 * outcome.attainment()), "%"),
            ("TTFT, median", taken(outcome.ttft(50.0)), ""),
            ("TTFT, p99", taken(outcome.ttft(99.0)), ""),
            ("instance-s", short(outcome.instance_seconds), ""),
            ("clairvoyant cost", format!("{cost:.2}"), "×"),
            ("starts", grouped(outcome.starts), ""),
            ("instances, most", grouped(u64::from(outcome.peak_instances)), ""),
            ("refused", grouped(outcome.refused), ""),
        ] {
            let unit = if unit.is_empty() { String::new() } else { format!("<small>{unit}</small>") };
            let _ = writeln!(text, "<div><dd>{}{unit}</dd><dt>{name}</dt></div>", escaped(&value));
        }
        text.push_str("</dl>\n");
        text
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
