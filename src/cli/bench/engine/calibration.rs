//! From what was measured of a variant to what simulations know of it. PURE.

use super::report::Figures;
use super::starts::Starts;
use crate::cli::bench::statistics::median;
use crate::cli::bench::table::{Table, figure};
use crate::sim::Service;
use crate::view::Takes;

/// Digits that measurements are worth.
const DIGITS: usize = 4;
/// However much of a step is taken for what sequences hold, so much of it is its own.
const LEAST_OWN: f64 = 0.1;

/// Two instances that do so much of what two machines would do have nothing in common that would run out.
const SEPARATE: f64 = 1.8;

/// What was measured of one variant.
pub(super) struct Known<'a> {
    /// Prompts, decode steps, the choice of tokens.
    pub figures: &'a Figures,
    /// Tokens that sequences held in them, on average.
    pub depth: f64,
    /// Decode steps of as many sequences as are most, which held more.
    pub deep: &'a Figures,
    /// How many.
    pub deep_depth: f64,
    /// Seconds of such steps, which held as many as those of `figures`, while another instance did the same.
    pub together: &'a [f64],
    pub starts: &'a Starts,
    pub takes: Takes,
    /// As [`Service::narrow_tokens`] has it.
    pub narrow_tokens: u32,
    pub request_seconds: f64,
}

impl Known<'_> {
    /// `None` if something was not measured.
    pub(super) fn service(&self) -> Option<Service> {
        let decode = steps(self.figures);
        let choice = self.figures.sampling.first()?.token_us?.p50 / 1e6;
        let (all, seconds) = *decode.last()?;
        let (_, deep) = *steps(self.deep).last()?;
        let apart = f64::from(all) * (self.deep_depth - self.depth);
        let each = if apart > 0.0 { ((deep - seconds) / apart).max(0.0) } else { 0.0 };
        let threads = u32::try_from(self.figures.sampling_threads.max(1)).unwrap_or(u32::MAX);
        let decode = decode.into_iter().map(|(count, seconds)| {
            let own = (seconds - each * f64::from(count) * self.depth).max(LEAST_OWN * seconds);
            (count, rounded(own + choice * f64::from(count.div_ceil(threads))))
        });
        let prefill = self.figures.prefill.iter().filter_map(|row| {
            let seconds = row.prompt_ms?.p50 / 1e3;
            Some((row.prompt_tokens, rounded(seconds + choice)))
        });
        let prefill: Vec<(u32, f64)> = prefill.collect();
        let (tokens, prefilled) = *prefill.last()?;
        Some(Service {
            prefill_tokens_per_second: rounded(f64::from(tokens) / prefilled),
            prefill_seconds: prefill,
            decode_seconds: decode.collect(),
            context_token_seconds: rounded(each),
            narrow_tokens: self.narrow_tokens,
            request_seconds: self.request_seconds,
            parallel_instances: self.parallel(seconds),
            load_seconds: rounded(median(&self.starts.load)?),
            instance_seconds: rounded(median(&self.starts.instance)?),
            worker_bytes: self.takes.worker,
            instance_bytes: self.takes.instance,
        })
    }
}

impl Known<'_> {
    /// How many instances compute at full speed, if one alone takes `alone` for a step: `None` if two hardly slow each other.
    fn parallel(&self, alone: f64) -> Option<f64> {
        let instances = 2.0 * alone / median(self.together)?;
        (instances < SEPARATE).then(|| rounded(instances))
    }
}

/// Seconds of steps, by their sequences.
fn steps(figures: &Figures) -> Vec<(u32, f64)> {
    let rows = figures.decode.iter();
    rows.filter_map(|row| Some((row.sequences, row.step_ms?.p50 / 1e3))).collect()
}

fn rounded(value: f64) -> f64 {
    let digits = DIGITS - 1;
    format!("{value:.digits$e}").parse().unwrap_or(value)
}

/// A table of variants.
pub(super) fn text(services: &[(String, Service)]) -> String {
    let mut table = Table::new([
        "variant",
        "prompt tokens/s",
        "ms a step of 1",
        "of all slots",
        "ms per 1000 tokens held",
        "load s",
        "instance s",
        "at full speed",
        "worker",
        "instance",
    ]);
    for (name, service) in services {
        let ms = |step: Option<&(u32, f64)>| step.map_or(0.0, |(_, seconds)| seconds * 1e3);
        table.row([
            name.clone(),
            figure(service.prefill_tokens_per_second),
            figure(ms(service.decode_seconds.first())),
            figure(ms(service.decode_seconds.last())),
            figure(service.context_token_seconds * 1e6),
            figure(service.load_seconds),
            figure(service.instance_seconds),
            service.parallel_instances.map_or_else(|| "each".to_owned(), figure),
            service.worker_bytes.to_string(),
            service.instance_bytes.to_string(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::engine::report::{Decode, Prefill, Sampling};
    use crate::units::ByteCount;

    fn figures(decode: &[(u32, f64)]) -> Figures {
        Figures {
            prefill: vec![Prefill::new(16, &[0.004]), Prefill::new(512, &[0.049])],
            decode: decode.iter().map(|(count, seconds)| Decode::new(*count, &[*seconds])).collect(),
            sampling: vec![Sampling::new("policy", &[0.001])],
            sampling_threads: 4,
            ..Figures::default()
        }
    }

    fn known<'a>(figures: &'a Figures, deep: &'a Figures, starts: &'a Starts) -> Known<'a> {
        let takes = Takes { worker: ByteCount(7), instance: ByteCount(3) };
        Known {
            figures,
            depth: 100.0,
            deep,
            deep_depth: 600.0,
            together: &[0.012, 0.02, 0.04],
            starts,
            takes,
            narrow_tokens: 64,
            request_seconds: 0.25,
        }
    }

    #[test]
    fn a_service_follows_from_what_was_measured_and_is_read_as_it_was_written() {
        let (near, deep) = (figures(&[(1, 0.006), (8, 0.012)]), figures(&[(8, 0.016)]));
        let starts = Starts { load: vec![3.0, 1.0, 2.0], instance: vec![0.5] };
        let service = known(&near, &deep, &starts).service().unwrap();
        // 4 ms for 500 tokens more in each of 8 slots; 100 tokens were held before, and 4 threads choose 8 tokens.
        let expected = Service {
            prefill_tokens_per_second: 10_240.0,
            prefill_seconds: vec![(16, 0.005), (512, 0.05)],
            decode_seconds: vec![(1, 0.0069), (8, 0.0132)],
            context_token_seconds: 0.000_001,
            narrow_tokens: 64,
            request_seconds: 0.25,
            parallel_instances: Some(1.2),
            load_seconds: 2.0,
            instance_seconds: 0.5,
            worker_bytes: ByteCount(7),
            instance_bytes: ByteCount(3),
        };
        assert_eq!(service, expected);
        assert_eq!(service.fault(), None);
        let written = serde_json::to_string(&[&service]).unwrap();
        let read: Vec<Service> = serde_json::from_str(&written).unwrap();
        assert_eq!(read[0], service);
        let text = text(&[("f16".into(), service)]);
        assert!(text.contains("10240") && text.contains("13.2"), "{text}");
    }

    #[test]
    fn instances_that_hardly_slow_each_other_are_taken_for_separate() {
        let starts = Starts { load: vec![1.0], instance: vec![1.0] };
        let near = figures(&[(8, 0.012)]);
        let parallel = |together: &[f64]| {
            Known { together, ..known(&near, &near, &starts) }.service().unwrap().parallel_instances
        };
        assert_eq!((parallel(&[0.013]), parallel(&[])), (None, None));
        assert_eq!((parallel(&[0.024]), parallel(&[0.03])), (Some(1.0), Some(0.8)));
    }

    #[test]
    fn noise_makes_no_figure_impossible_and_nothing_is_made_up() {
        let starts = Starts { load: vec![1.0], instance: vec![1.0] };
        let near = figures(&[(1, 0.000_1), (8, 0.012)]);
        for deep in [0.001, 0.1] {
            let service = known(&near, &figures(&[(8, deep)]), &starts).service().unwrap();
            assert_eq!(service.fault(), None, "{service:?}");
        }
        assert_eq!(known(&near, &Figures::default(), &starts).service(), None);
        assert_eq!(known(&near, &near, &Starts::default()).service(), None);
    }
}
