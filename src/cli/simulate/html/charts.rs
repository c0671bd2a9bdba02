//! What happened when, as charts on one time axis. PURE.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::axis::{Axis, Time, bytes};
use super::chart::{Chart, area, line, time_axis};
use super::marks;
use super::text::{clock, grouped, short, taken};
use crate::policy::{ModelPolicy, Variants};
use crate::sim::{Moment, Outcome, Slo};

/// Colours that there are for variants.
const COLOURS: usize = 6;

/// What the charts are drawn from.
pub(super) struct Charts<'a> {
    outcome: &'a Outcome,
    policies: &'a [Arc<ModelPolicy>],
    slo: Slo,
    time: Time,
}

/// A chart, and what each stretch has in its heading.
type Drawn = (Chart, Vec<String>);

impl<'a> Charts<'a> {
    pub fn new(outcome: &'a Outcome, policies: &'a [Arc<ModelPolicy>], slo: Slo, length: Duration) -> Self {
        let stretch = outcome.stretch.as_secs_f64().max(1e-3);
        let replayed = stretch * f64::from(u32::try_from(outcome.moments.len()).unwrap_or(u32::MAX));
        // The last stretch is rarely a whole one. Answers can come long after the last request.
        let length = length.as_secs_f64();
        let seconds = if replayed > length + 1.01 * stretch { replayed } else { length };
        Self { outcome, policies, slo, time: Time { seconds: seconds.max(stretch), stretch } }
    }

    /// The stretches that have a place: what is left of a trace after whole ones has no width.
    fn moments(&self) -> &[Moment] {
        let moments = &self.outcome.moments;
        let shown = (0..moments.len()).take_while(|number| self.time.begin(*number) < 1.0 - 1e-4).count();
        &moments[..shown]
    }

    /// All charts, the time axis, and what the script needs.
    pub fn html(&self) -> String {
        let drawn = [self.arrivals(), self.queue(), self.instances(), self.memory(), self.ttft()];
        let mut text = String::from(
            "<section class=\"charts\" tabindex=\"0\" aria-label=\"What happened when; the arrow keys move through time\">\n",
        );
        for (chart, _) in &drawn {
            text.push_str(&chart.html(self.time));
        }
        text.push_str(&time_axis(self.time));
        text.push_str("<div class=\"cursor\" hidden></div>\n</section>\n");
        let times =
            (0..self.moments().len()).map(|number| clock(self.time.begin(number) * self.time.seconds));
        let data = json!({
            "width": self.time.stretch / self.time.seconds,
            "times": times.collect::<Vec<_>>(),
            "values": drawn.iter().map(|(_, values)| values).collect::<Vec<_>>(),
        });
        // No text in it can end the script.
        let data = data.to_string().replace('<', "\\u003c");
        let _ = writeln!(text, "<script type=\"application/json\" id=\"moments\">{data}</script>");
        text
    }

    fn arrivals(&self) -> Drawn {
        let rate = |moment: &Moment| f64::from(moment.arrivals) / self.time.stretch;
        let rates: Vec<f64> = self.moments().iter().map(rate).collect();
        let axis = Axis::linear(most(&rates), false, |value| format!("{}/s", short(value)));
        let chart = Chart {
            name: "arrivals",
            title: "Arrivals",
            what: "requests per second",
            curves: self.filled("arrivals", &rates, &axis),
            axis,
            legend: Vec::new(),
            limit: None,
            summary: format!("at most {}/s", short(most(&rates))),
            above: String::new(),
        };
        (chart, rates.iter().map(|rate| format!("{}/s", short(*rate))).collect())
    }

    fn queue(&self) -> Drawn {
        let waiting: Vec<f64> = self.moments().iter().map(|moment| f64::from(moment.waiting)).collect();
        let axis = Axis::linear(most(&waiting), true, short);
        let chart = Chart {
            name: "queue",
            title: "Queue",
            what: "most requests that waited",
            curves: self.filled("queue", &waiting, &axis),
            axis,
            legend: Vec::new(),
            limit: None,
            summary: format!("at most {}", short(most(&waiting))),
            above: String::new(),
        };
        (chart, waiting.iter().map(|waiting| format!("{} waiting", short(*waiting))).collect())
    }

    /// Ready ones by variant upon each other, those that start on top.
    fn instances(&self) -> Drawn {
        let labels = self.variants();
        let ready =
            |moment: &Moment, variant: usize| f64::from(moment.ready.get(variant).copied().unwrap_or(0));
        let total = |moment: &Moment| {
            f64::from(moment.starting) + (0..labels.len()).map(|variant| ready(moment, variant)).sum::<f64>()
        };
        let totals: Vec<f64> = self.moments().iter().map(total).collect();
        let axis = Axis::linear(most(&totals), true, short);
        let (mut curves, mut legend) = (String::new(), Vec::new());
        let mut below = vec![0.0; totals.len()];
        for (variant, label) in labels.iter().enumerate() {
            let upon = |(moment, below): (&Moment, &f64)| below + ready(moment, variant);
            let above: Vec<f64> = self.moments().iter().zip(&below).map(upon).collect();
            let class = format!("v{}", variant % COLOURS);
            let drawn = area(&class, &below, &above, &axis, self.time);
            if !drawn.is_empty() {
                legend.push((class, label.clone()));
            }
            curves.push_str(&drawn);
            below = above;
        }
        let starting = area("starting", &below, &totals, &axis, self.time);
        if !starting.is_empty() {
            legend.push(("starting".to_owned(), "starting".to_owned()));
        }
        curves.push_str(&starting);
        let marks = marks::marks(&self.outcome.notes, self.time);
        let chart = Chart {
            name: "instances",
            title: "Instances",
            what: "with the decisions that changed them",
            axis,
            legend,
            curves,
            limit: None,
            summary: format!("at most {}", self.outcome.peak_instances),
            above: marks::html(&marks, self.policies.len() > 1),
        };
        (chart, self.moments().iter().map(|moment| in_words(moment, &labels)).collect())
    }

    fn memory(&self) -> Drawn {
        #[expect(clippy::cast_precision_loss, reason = "bytes of a machine are exact in an f64")]
        let held: Vec<f64> = self.moments().iter().map(|moment| moment.bytes as f64).collect();
        let (axis, size, unit) = bytes(most(&held));
        let held: Vec<f64> = held.iter().map(|bytes| bytes / size).collect();
        let amount = |value: f64| format!("{} {unit}", short(value));
        let chart = Chart {
            name: "memory",
            title: "Memory",
            what: "weights and instances",
            curves: self.filled("memory", &held, &axis),
            axis,
            legend: Vec::new(),
            limit: None,
            summary: format!("at most {}", amount(most(&held))),
            above: String::new(),
        };
        (chart, held.iter().map(|value| amount(*value)).collect())
    }

    fn ttft(&self) -> Drawn {
        let slo = self.slo.ttft.as_secs_f64();
        let medians: Vec<Option<f64>> = self.moments().iter().map(|moment| moment.ttft_p50).collect();
        let largest: Vec<Option<f64>> = self.moments().iter().map(|moment| moment.ttft_max).collect();
        let known = medians.iter().chain(&largest).flatten().copied();
        let (least, most) =
            known.fold((slo, slo), |(least, most), value| (least.min(value), most.max(value)));
        let axis = Axis::log_seconds(least, most);
        let values = self.moments().iter().map(|moment| match (moment.ttft_p50, moment.ttft_max) {
            (Some(median), Some(largest)) => format!("{}, at most {}", taken(median), taken(largest)),
            _ => "none".to_owned(),
        });
        let chart = Chart {
            name: "ttft",
            title: "Time to first token",
            what: "logarithmic",
            curves: line("largest", &largest, &axis, self.time) + &line("median", &medians, &axis, self.time),
            axis,
            legend: vec![("median".into(), "median".into()), ("largest".into(), "largest".into())],
            limit: Some((slo, format!("SLO {}", taken(slo)))),
            summary: largest
                .iter()
                .flatten()
                .copied()
                .reduce(f64::max)
                .map_or_else(|| "none".to_owned(), |largest| format!("at most {}", taken(largest))),
            above: String::new(),
        };
        (chart, values.collect())
    }

    /// A curve with the area below it.
    fn filled(&self, class: &str, values: &[f64], axis: &Axis) -> String {
        let some: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
        area(class, &vec![0.0; values.len()], values, axis, self.time) + &line(class, &some, axis, self.time)
    }

    /// What the variants are called; one alone needs no name.
    fn variants(&self) -> Vec<String> {
        let count = self.moments().iter().map(|moment| moment.ready.len()).max().unwrap_or(0);
        let listed = match self.policies {
            [one] => match &one.variants {
                Variants::Listed(listed) => listed.as_slice(),
                Variants::Auto(_) => &[],
            },
            _ => &[],
        };
        let label = |variant: usize| match listed.get(variant) {
            _ if count == 1 => "ready".to_owned(),
            Some(listed) => listed.name.clone(),
            None => format!("variant {}", variant + 1),
        };
        (0..count).map(label).collect()
    }
}

/// "3 ready, 1 starting"
fn in_words(moment: &Moment, labels: &[String]) -> String {
    let ready = moment.ready.iter().zip(labels).filter(|(count, _)| **count > 0);
    let ready = ready.map(|(count, label)| format!("{} {label}", grouped(u64::from(*count))));
    let starting = (moment.starting > 0).then(|| format!("{} starting", moment.starting));
    let all: Vec<String> = ready.chain(starting).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
