//! Minima that change by the clock: cron expressions. The only user of cronexpr. Pure: whoever asks says what time it is.

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::{SignedDuration, Timestamp};

/// From certain moments on, so many instances at least.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// As the policy has it.
    at: String,
    moments: Crontab,
    min_instances: u32,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (&self.at, self.min_instances) == (&other.at, other.min_instances)
    }
}

/// The entry whose moment came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Its minimum.
    pub min_instances: u32,
    /// When it came.
    pub since: Timestamp,
    /// When the next one comes, of whichever entry.
    pub until: Timestamp,
}

/// How far back a moment is looked for, shortest first, so that one that comes each minute is not counted up through
/// years. The last is longer than the four years within which the next moment must come.
const LOOK_BACK_HOURS: [i64; 5] = [1, 24, 8 * 24, 32 * 24, 5 * 366 * 24];

impl Schedule {
    /// Adds an entry; later ones win where two have the same moment.
    ///
    /// # Errors
    ///
    /// What is wrong with the expression: minute, hour, day of month, month, day of week, and optionally a time zone such
    /// as `Europe/Berlin`; without one the machine's counts.
    pub fn add(&mut self, at: &str, min_instances: u32) -> Result<(), String> {
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::System;
        // The library marks the place in a second and third line.
        let brief = |error: cronexpr::Error| {
            error.to_string().lines().last().map(|line| line.trim_start_matches([' ', '^']).to_owned())
        };
        let moments =
            cronexpr::parse_crontab_with(at, options).map_err(|error| brief(error).unwrap_or_default())?;
        if moments.find_next(MakeTimestamp(Timestamp::UNIX_EPOCH)).is_err() {
            return Err("there is no such day within four years".into());
        }
        self.entries.push(Entry { at: at.to_owned(), moments, min_instances });
        Ok(())
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// No entry asks for fewer than this.
    pub fn raise(&mut self, least: u32) {
        self.entries.iter_mut().for_each(|entry| entry.min_instances = entry.min_instances.max(least));
    }

    /// What is in force at `now`; `None` without entries, or where none has come in the last years.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Option<InForce> {
        let last = self.entries.iter().filter_map(|entry| Some((entry.last(now)?, entry.min_instances)));
        let (since, min_instances) = last.max_by_key(|(since, _)| *since)?;
        let next = self.entries.iter().filter_map(|entry| entry.next(now));
        Some(InForce { min_instances, since, until: next.min().unwrap_or(Timestamp::MAX) })
    }
}

impl Entry {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        Some(self.moments.find_next(MakeTimestamp(after)).ok()?.timestamp())
    }

    /// The last moment until `now`, which counts.
    fn last(&self, now: Timestamp) -> Option<Timestamp> {
        LOOK_BACK_HOURS.into_iter().find_map(|hours| {
            let from = now.checked_sub(SignedDuration::from_hours(hours)).ok()?;
            let moments = std::iter::successors(self.next(from), |moment| self.next(*moment));
            moments.take_while(|moment| *moment <= now).last()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(entries: &[(&str, u32)]) -> Schedule {
        let mut schedule = Schedule::default();
        entries.iter().for_each(|(at, min)| schedule.add(at, *min).unwrap());
        schedule
    }

    fn check(schedule: &Schedule, now: &str, min_instances: u32, since: &str, until: &str) {
        let expected = InForce { min_instances, since: time(since), until: time(until) };
        assert_eq!(schedule.at(time(now)), Some(expected), "{now}");
    }

    #[test]
    fn the_entry_whose_moment_came_last_is_in_force() {
        let office = schedule(&[("50 8 * * mon-fri UTC", 4), ("0 18 * * mon-fri UTC", 0)]);
        // 26 November 2026 is a Thursday.
        check(&office, "2026-11-26T08:49:59Z", 0, "2026-11-25T18:00:00Z", "2026-11-26T08:50:00Z");
        check(&office, "2026-11-26T08:50:00Z", 4, "2026-11-26T08:50:00Z", "2026-11-26T18:00:00Z");
        check(&office, "2026-11-29T12:00:00Z", 0, "2026-11-27T18:00:00Z", "2026-11-30T08:50:00Z");
        check(
            &schedule(&[("0 0 29 2 * UTC", 1)]),
            "2027-01-01T00:00:00Z",
            1,
            "2024-02-29T00:00:00Z",
            "2028-02-29T00:00:00Z",
        );
        check(
            &schedule(&[("* * * * * UTC", 1), ("0 * * * * UTC", 2)]),
            "2026-11-26T09:00:30Z",
            2,
            "2026-11-26T09:00:00Z",
            "2026-11-26T09:01:00Z",
        );
        assert_eq!(Schedule::default().at(time("2026-11-26T09:00:30Z")), None);
    }

    #[test]
    fn moments_follow_their_time_zone_through_the_change_of_the_clocks() {
        let morning = schedule(&[("0 9 * * * Europe/Berlin", 1)]);
        check(&morning, "2026-10-25T12:00:00Z", 1, "2026-10-25T08:00:00Z", "2026-10-26T08:00:00Z");
        check(&morning, "2026-10-24T12:00:00Z", 1, "2026-10-24T07:00:00Z", "2026-10-25T08:00:00Z");
    }

    #[test]
    fn expressions_that_never_come_or_are_none_are_refused() {
        for (at, expected) in [
            ("50 8 * *", "missing days of week"),
            ("61 8 * * *", "61"),
            ("0 8 * * mon-fry", ""),
            ("0 8 * * * Europe/Nowhere", "time"),
            ("0 0 30 2 *", "there is no such day within four years"),
            ("", ""),
        ] {
            let error = Schedule::default().add(at, 1).unwrap_err();
            assert!(error.contains(expected) && !error.is_empty() && !error.contains('\n'), "{at}: {error}");
        }
    }
}
