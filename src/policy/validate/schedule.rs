//! Minima by the clock: the rules of `scale.schedule`; see [`validate`](super).

use crate::policy::error::Faults;
use crate::policy::path::{YamlPath, shown_text};
use crate::policy::raw::RawScheduled;
use crate::policy::schedule::Schedule;
use crate::policy::section::Section;

/// Most entries: each hour of a week.
const MAX_ENTRIES: usize = 168;

/// The entries of a model that may have `max` instances.
pub(super) fn schedule(
    raw: Option<&[Option<RawScheduled>]>,
    max: Option<u32>,
    at: &YamlPath,
    faults: &mut Faults,
) -> Option<Schedule> {
    let raw = raw.unwrap_or_default();
    if raw.len() > MAX_ENTRIES {
        faults
            .add(at.clone(), format!("{} entries are more than {MAX_ENTRIES}; join some of them", raw.len()));
        return None;
    }
    let mut schedule = Schedule::default();
    let mut legal = true;
    for (index, raw) in raw.iter().enumerate() {
        legal &= entry(raw.as_ref(), max, at.index(index), faults, &mut schedule).is_some();
    }
    legal.then_some(schedule)
}

fn entry(
    raw: Option<&RawScheduled>,
    max: Option<u32>,
    at: YamlPath,
    faults: &mut Faults,
    schedule: &mut Schedule,
) -> Option<()> {
    let Some(raw) = raw else {
        faults.add_missing(at, "give `at` and `min_instances`, or remove this element");
        return None;
    };
    let mut section = Section::new(at, faults);
    let moment = section.text("at", raw.at.as_ref(), "a cron expression such as \"50 8 * * mon-fri\"");
    let min = match &raw.min_instances {
        Some(given) => section.count("min_instances", Some(given), 0, 0..=1024),
        None => section.missing("min_instances", "give the least number of instances from then on"),
    };
    let (moment, min) = (moment?, min?);
    if max.is_some_and(|max| min > max) {
        let max = max.unwrap_or_default();
        let message = format!("{min} is more than max_instances ({max}); raise max_instances or lower this");
        return section.note("min_instances", message);
    }
    match schedule.add(moment, min) {
        Ok(()) => Some(()),
        Err(reason) => section.note(
            "at",
            format!(
                "{} is no cron expression: {reason}; give minute, hour, day of month, month and day of week",
                shown_text(moment)
            ),
        ),
    }
}
