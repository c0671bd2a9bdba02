//! The rules of a model's place in the pool: `devices`, `scale`, `queue` and `watchdog`; see [`validate`](super).

use std::time::Duration;

use super::schedule::schedule;
use super::{DAY_MS, HOUR_MS};
use crate::policy::error::Faults;
use crate::policy::path::YamlPath;
use crate::policy::raw::{Given, RawCache, RawQueue, RawScale, RawWatchdog};
use crate::policy::section::{Section, from_to};
use crate::policy::types::{
    CachePolicy, CachedRequests, Quality, QueuePolicy, RedisUrl, ScalePolicy, WatchdogPolicy,
};
use crate::units::{ByteCount, DeviceId, DeviceSet};

/// `Some(None)` where the policy does not say.
#[expect(clippy::option_option, reason = "the outer one is whether it is legal, as everywhere in this room")]
pub(super) fn model_devices(
    raw: Option<&[Option<Given>]>,
    at: &YamlPath,
    faults: &mut Faults,
) -> Option<Option<Vec<DeviceId>>> {
    let Some(raw) = raw else { return Some(None) };
    if raw.is_empty() {
        faults.add_missing(at.clone(), "list devices such as gpu0 or host, or remove the key");
        return None;
    }
    let devices = raw.iter().enumerate().map(|(index, given)| {
        let found = given.as_ref().and_then(Given::text).and_then(|text| match text.strip_prefix("gpu") {
            Some(number) => {
                let number = number.parse().ok().filter(|number| *number < DeviceSet::MAX_GPUS);
                number.map(DeviceId::Gpu)
            }
            None => (text == "host").then_some(DeviceId::Host),
        });
        if found.is_none() {
            let shown = given.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
            faults.add(at.index(index), format!("expected gpu0, gpu1, … or host, got {shown}"));
        }
        found
    });
    // All are looked at before any is given up.
    let devices: Vec<Option<DeviceId>> = devices.collect();
    devices.into_iter().collect::<Option<Vec<_>>>().map(Some)
}

pub(super) fn scale(raw: &RawScale, at: &YamlPath, faults: &mut Faults) -> Option<ScalePolicy> {
    let mut section = Section::new(at.clone(), faults);
    let min = section.count("min_instances", raw.min_instances.as_ref(), 0, 0..=1024);
    let max = section.count("max_instances", raw.max_instances.as_ref(), 4, 1..=1024);
    let wait_ms =
        section.whole("target_queue_wait_ms", raw.target_queue_wait_ms.as_ref(), 1_500, 1..=HOUR_MS);
    let ttft_ms = section.whole("target_ttft_ms", raw.target_ttft_ms.as_ref(), 0, 1..=HOUR_MS);
    let itl_ms = section.whole("target_itl_ms", raw.target_itl_ms.as_ref(), 0, 1..=60_000);
    let late_share = section.number("late_share", raw.late_share.as_ref(), 0.01, from_to(0.0001, 0.5));
    let down_ms =
        section.whole("scale_down_after_ms", raw.scale_down_after_ms.as_ref(), 5_000, 0..=7 * DAY_MS);
    let unload_ms =
        section.whole("idle_unload_after_ms", raw.idle_unload_after_ms.as_ref(), 300_000, 0..=7 * DAY_MS);
    let forecast = section.flag("forecast", raw.forecast.as_ref(), true);
    let qualities = [("flexible", Quality::Flexible), ("pinned", Quality::Pinned)];
    let quality = section.choice("quality", raw.quality.as_ref(), Quality::Flexible, &qualities);
    let upgrade_ms =
        section.whole("upgrade_after_ms", raw.upgrade_after_ms.as_ref(), 300_000, 0..=7 * DAY_MS);
    let residence_ms = section.whole("min_residence_ms", raw.min_residence_ms.as_ref(), 30_000, 0..=HOUR_MS);
    section.ordered(
        ("min_instances", raw.min_instances.is_some(), min.map(u64::from)),
        ("max_instances", raw.max_instances.is_some(), max.map(u64::from)),
    );
    section.ordered(
        ("scale_down_after_ms", raw.scale_down_after_ms.is_some(), down_ms),
        ("idle_unload_after_ms", raw.idle_unload_after_ms.is_some(), unload_ms),
    );
    let schedule = schedule(raw.schedule.as_deref(), max, &at.key("schedule"), faults);
    // What a key without a default has is outside of its range.
    let given = |ms: u64| Some(ms).filter(|ms| *ms > 0).map(Duration::from_millis);
    Some(ScalePolicy {
        min_instances: min?,
        max_instances: max?,
        schedule: schedule?,
        target_queue_wait: given(if raw.target_queue_wait_ms.is_none() { ttft_ms? } else { 0 })
            .unwrap_or(Duration::from_millis(wait_ms?)),
        target_ttft: given(ttft_ms?),
        target_itl: given(itl_ms?),
        late_share: late_share?,
        scale_down_after: Duration::from_millis(down_ms?),
        idle_unload_after: Duration::from_millis(unload_ms?),
        forecast: forecast?,
        quality: quality?,
        upgrade_after: Duration::from_millis(upgrade_ms?),
        min_residence: Duration::from_millis(residence_ms?),
    })
}

pub(super) fn queue(raw: &RawQueue, at: YamlPath, faults: &mut Faults) -> Option<QueuePolicy> {
    let mut section = Section::new(at, faults);
    let max_requests = section.count("max_requests", raw.max_requests.as_ref(), 512, 1..=1_000_000);
    let timeout_ms = section.whole("timeout_ms", raw.timeout_ms.as_ref(), 60_000, 1..=DAY_MS);
    Some(QueuePolicy { max_requests: max_requests?, timeout: Duration::from_millis(timeout_ms?) })
}

pub(super) fn cache(raw: &RawCache, at: YamlPath, faults: &mut Faults) -> Option<CachePolicy> {
    let mut section = Section::new(at, faults);
    let enabled = section.flag("enabled", raw.enabled.as_ref(), false);
    let kinds = [("deterministic", CachedRequests::Deterministic), ("all", CachedRequests::All)];
    let requests = section.choice("requests", raw.requests.as_ref(), CachedRequests::Deterministic, &kinds);
    let range = ByteCount::from_mib(1)..=ByteCount::from_mib(1 << 20);
    let memory = section.bytes("memory", raw.memory.as_ref(), ByteCount::from_mib(64), range);
    let ttl_ms = section.whole("ttl_ms", raw.ttl_ms.as_ref(), HOUR_MS, 1..=7 * DAY_MS);
    let redis = raw.redis.as_ref().map(|given| redis_url("redis", given, &mut section));
    Some(CachePolicy {
        enabled: enabled?,
        requests: requests?,
        memory: memory?,
        ttl: Duration::from_millis(ttl_ms?),
        redis: if let Some(url) = redis { Some(url?) } else { None },
    })
}

/// The URL of a Redis server. What is refused is not repeated: it may have a password.
fn redis_url(key: &str, given: &Given, section: &mut Section<'_>) -> Option<RedisUrl> {
    let expected = "expected a URL such as redis://localhost:6379/0 or rediss://user:password@host, got ";
    match given.text() {
        Some(text) if redis::Client::open(text).is_ok() => Some(RedisUrl(text.into())),
        Some(_) => section.note(key, format!("{expected}another text")),
        None => section.note(key, format!("{expected}{given}")),
    }
}

pub(super) fn watchdog(raw: &RawWatchdog, at: YamlPath, faults: &mut Faults) -> Option<WatchdogPolicy> {
    let mut section = Section::new(at, faults);
    let stall_ms =
        section.whole("no_progress_after_ms", raw.no_progress_after_ms.as_ref(), 20_000, 100..=HOUR_MS);
    let load_ms = section.whole("load_timeout_ms", raw.load_timeout_ms.as_ref(), 600_000, 1_000..=DAY_MS);
    Some(WatchdogPolicy {
        no_progress_after: Duration::from_millis(stall_ms?),
        load_timeout: Duration::from_millis(load_ms?),
    })
}
