//! Two servers side by side, round by round. PURE.
//!
//! Both meet whatever else a machine does, if they take turns; the ratio within a round then says more than the
//! figures of either.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::report::{self, Load, Row};
use crate::cli::bench::statistics::{median, ratio};
use crate::cli::bench::table::{Table, counted, figure, maybe};

/// A figure to compare by.
struct Figure {
    /// In JSON.
    name: &'static str,
    /// In tables.
    title: &'static str,
    more_is_better: bool,
    of: fn(&Row) -> Option<f64>,
}

const FIGURES: [Figure; 8] = [
    Figure {
        name: "output_tokens_per_second",
        title: "output tokens/s",
        more_is_better: true,
        of: |row| row.output_tokens_per_second,
    },
    Figure {
        name: "prompt_tokens_per_second",
        title: "prompt tokens/s",
        more_is_better: true,
        of: |row| row.prompt_tokens_per_second,
    },
    time("ttft_p50_ms", "TTFT p50, ms", |row| Some(row.ttft_ms?.p50)),
    time("ttft_p99_ms", "TTFT p99, ms", |row| Some(row.ttft_ms?.p99)),
    time("itl_p50_ms", "ITL p50, ms", |row| Some(row.itl_ms?.p50)),
    time("itl_p99_ms", "ITL p99, ms", |row| Some(row.itl_ms?.p99)),
    time("tpot_p50_ms", "TPOT p50, ms", |row| Some(row.tpot_ms?.p50)),
    time("e2e_p50_ms", "E2E p50, ms", |row| Some(row.e2e_ms?.p50)),
];

const fn time(name: &'static str, title: &'static str, of: fn(&Row) -> Option<f64>) -> Figure {
    Figure { name, title, more_is_better: false, of }
}

/// What two servers did under one load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Comparison {
    #[serde(flatten)]
    pub load: Load,
    #[serde(serialize_with = "with_figures")]
    #[serde(rename = "figures")]
    pub rounds: Vec<[Row; 2]>,
}

/// One figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Compared {
    /// Median of the first server's rounds.
    a: Option<f64>,
    /// Median of the second one's.
    b: Option<f64>,
    /// The first one's figure divided by the second one's in the same round: median, lowest, highest.
    ratio: Option<f64>,
    ratio_low: Option<f64>,
    ratio_high: Option<f64>,
}

impl Compared {
    fn of(pairs: impl Iterator<Item = (Option<f64>, Option<f64>)> + Clone) -> Self {
        let middle = |values: Vec<f64>| median(&values);
        let ratios: Vec<f64> = pairs.clone().filter_map(|(a, b)| ratio(a, b)).collect();
        Self {
            a: middle(pairs.clone().filter_map(|(a, _)| a).collect()),
            b: middle(pairs.filter_map(|(_, b)| b).collect()),
            ratio: median(&ratios),
            ratio_low: ratios.iter().copied().min_by(f64::total_cmp),
            ratio_high: ratios.iter().copied().max_by(f64::total_cmp),
        }
    }

    /// The server that was better in every round, if one was.
    fn better(&self, more_is_better: bool) -> Option<usize> {
        let (low, high) = (self.ratio_low?, self.ratio_high?);
        let larger = if low > 1.0 {
            0
        } else if high < 1.0 {
            1
        } else {
            return None;
        };
        Some(if more_is_better { larger } else { 1 - larger })
    }
}

impl Comparison {
    fn compared(&self, figure: &Figure) -> Compared {
        compared(&self.rounds, figure)
    }

    /// How many requests failed in all rounds.
    pub(super) fn failed(&self) -> usize {
        self.rounds.iter().flatten().map(|row| row.failed).sum()
    }
}

fn compared(rounds: &[[Row; 2]], figure: &Figure) -> Compared {
    Compared::of(rounds.iter().map(|[a, b]| ((figure.of)(a), (figure.of)(b))))
}

fn with_figures<S: Serializer>(rounds: &[[Row; 2]], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(FIGURES.len()))?;
    for figure in &FIGURES {
        map.serialize_entry(figure.name, &compared(rounds, figure))?;
    }
    map.end()
}

/// A table for each load, and what failed.
pub(super) fn text(comparisons: &[Comparison], labels: &[String; 2]) -> String {
    let [a, b] = labels;
    let mut text = String::new();
    for comparison in comparisons {
        let rounds = u32::try_from(comparison.rounds.len()).unwrap_or(u32::MAX);
        let heading = format!("{}, {}", comparison.load, counted(rounds, "round"));
        let quotient = format!("{a}/{b}");
        let mut table =
            Table::new([&heading, a, b, &quotient, "lowest", "highest", "better"].map(|s| s as &str));
        for row in &FIGURES {
            let compared = comparison.compared(row);
            let better = compared.better(row.more_is_better).map(|server| labels[server].clone());
            table.row([
                row.title.to_owned(),
                maybe(compared.a),
                maybe(compared.b),
                quotient_text(compared.ratio),
                quotient_text(compared.ratio_low),
                quotient_text(compared.ratio_high),
                better.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        text += &table.text();
        for (number, round) in comparison.rounds.iter().enumerate() {
            for (row, label) in round.iter().zip(labels) {
                text += report::failed(&format!("{label}, round {}", number + 1), row).trim_start();
            }
        }
        text.push('\n');
    }
    text + "Medians of the rounds. \"better\" names who was so in every round.\n"
}

fn quotient_text(ratio: Option<f64>) -> String {
    ratio
        .map_or_else(|| maybe(None), |ratio| if ratio < 10.0 { format!("{ratio:.3}") } else { figure(ratio) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::bench::server::answer::{Answer, FailureKind};

    #[test]
    fn ratios_are_taken_round_by_round() {
        let pairs = [(20.0, 10.0), (30.0, 20.0), (90.0, 30.0)].map(|(a, b)| (Some(a), Some(b)));
        let compared = Compared::of(pairs.into_iter());
        assert_eq!((compared.a, compared.b), (Some(30.0), Some(20.0)));
        // Not 30 / 20.
        assert_eq!(compared.ratio, Some(2.0));
        assert_eq!((compared.ratio_low, compared.ratio_high), (Some(1.5), Some(3.0)));
        assert_eq!((compared.better(true), compared.better(false)), (Some(0), Some(1)));
    }

    #[test]
    fn who_wins_only_some_rounds_is_not_better() {
        for (pairs, better) in [
            (&[(1.0, 2.0), (2.0, 1.0)][..], None),
            (&[(1.0, 2.0), (1.0, 1.5)], Some(1)),
            (&[(1.0, 1.0)], None),
            (&[], None),
        ] {
            let compared = Compared::of(pairs.iter().map(|(a, b)| (Some(*a), Some(*b))));
            assert_eq!(compared.better(true), better, "{pairs:?}");
        }
        let nothing = Compared::of([(None, Some(1.0)), (Some(1.0), Some(0.0))].into_iter());
        assert_eq!((nothing.ratio, nothing.better(true)), (None, None));
    }

    #[test]
    fn text_and_json_name_servers_figures_and_failures() {
        let load = Load::Closed { clients: 1 };
        let answer = Answer { output_tokens: 10, ..Answer::default() };
        let good = Row::new(load, &[Ok(answer)], Duration::from_secs(1));
        let bad = Row::new(load, &[Err(FailureKind::CutOff.with("gone"))], Duration::from_secs(1));
        let comparison = Comparison { load, rounds: vec![[good.clone(), good.clone()], [good, bad]] };
        assert_eq!(comparison.failed(), 1);
        let json = serde_json::to_value(&comparison).unwrap();
        assert_eq!(json["clients"], 1);
        assert_eq!(json["figures"]["output_tokens_per_second"]["a"], 10.0);
        assert!(json["figures"]["ttft_p50_ms"]["ratio"].is_null());
        let text = text(&[comparison], &["mine".into(), "theirs".into()]);
        for words in ["1 client, 2 rounds", "mine/theirs", "theirs, round 2: 1 failed: cut off: gone"] {
            assert!(text.contains(words), "{words} is missing in: {text}");
        }
    }
}
