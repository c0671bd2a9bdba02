//! Finds a pattern that repeats in counts of arrivals, and tests it on them.
//!
//! Input: counts of bins, oldest first. Output: a period and how exact it is. Pure.
//! Caller: `season` only.
//!
//! The period is the lag of the highest autocorrelation (Box, Jenkins, *Time Series Analysis*, ch. 2; Vlachos, Yu,
//! Castelli, SDM 2005). Then the past is gone through: of the arrivals that came suddenly, how many would the pattern
//! have promised, and how much would it have promised in all? Only a pattern that passes is used.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts are far below 2^52, and casts of positive numbers saturate"
)]

/// Repeats that must lie in the past before a pattern is believed: with two and a half, each phase was seen twice.
const REPEATS: f64 = 2.5;
/// The shortest period in bins: below, instances that are kept bridge it.
const SHORTEST: usize = 12;
/// Autocorrelation, 0 to 1, that a pattern needs: half of the variance is explained by it.
const CORRELATION: f64 = 0.5;
/// Multiples of a period correlate as well as it does; the shortest lag with this share of the highest is the period.
const AS_GOOD: f64 = 0.9;
/// Bins either side over which counts are averaged before they are correlated, so that an early repeat still does.
const BLUR: usize = 2;
/// Share of sudden arrivals that it must have promised.
const HIT_SHARE: f64 = 0.85;
/// Share of all arrivals that must come suddenly: a pattern without edges needs no forecast.
const SUDDEN_SHARE: f64 = 0.02;
/// Arrivals that it may promise for each that came.
const PROMISED_MAX: f64 = 2.0;
/// Most bins by which a repeat may come early or late.
pub const MARGIN_MAX: usize = 3;
/// Repeats that a promise looks back on.
pub const LOOK_BACK: usize = 3;
/// Bins either side over which counts are averaged, so that noise of single bins is not promised.
pub const SMOOTH: usize = 1;
/// Standard deviations of a Poisson count above which a rise is sudden.
pub const SUDDEN: f64 = 3.0;

/// A pattern that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Bins from repeat to repeat.
    pub period: usize,
    /// Bins by which a repeat came early or late.
    pub margin: usize,
}

/// Looks for a pattern in `past`, and tests it with forecasts made `lead` bins ahead.
#[must_use]
pub fn learn(past: &[f64], lead: usize) -> Option<Pattern> {
    let blurred = averaged(past, BLUR);
    let longest = (past.len() as f64 / REPEATS) as usize;
    if longest < SHORTEST {
        return None;
    }
    let correlations: Vec<f64> = (SHORTEST - 1..=longest).map(|lag| correlation(&blurred, lag)).collect();
    let at = |lag: usize| correlations[lag + 1 - SHORTEST];
    let peaks = || (SHORTEST..longest).filter(|lag| at(*lag) >= at(lag - 1) && at(*lag) >= at(lag + 1));
    let best = peaks().map(at).fold(0.0, f64::max);
    if best < CORRELATION {
        return None;
    }
    let period = peaks().find(|lag| at(*lag) >= AS_GOOD * best)?;
    (0..=MARGIN_MAX).map(|margin| Pattern { period, margin }).find(|pattern| passes(past, *pattern, lead))
}

/// Averages over `side` bins either side.
fn averaged(series: &[f64], side: usize) -> Vec<f64> {
    (0..series.len())
        .map(|i| {
            let part = &series[i.saturating_sub(side)..(i + side + 1).min(series.len())];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect()
}

/// Pearson's correlation of a series with itself `lag` earlier.
fn correlation(series: &[f64], lag: usize) -> f64 {
    let (early, late) = (&series[..series.len() - lag], &series[lag..]);
    let n = early.len() as f64;
    let (mut x, mut y, mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (a, b) in early.iter().zip(late) {
        x += a;
        y += b;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    let (vx, vy) = (xx - x * x / n, yy - y * y / n);
    if vx <= 0.0 || vy <= 0.0 { 0.0 } else { (xy - x * y / n) / (vx * vy).sqrt() }
}

/// Whether the pattern would have promised what came suddenly in the last two periods, and not much that did not come.
fn passes(past: &[f64], pattern: Pattern, lead: usize) -> bool {
    let Pattern { period, margin } = pattern;
    let smooth = averaged(past, SMOOTH);
    let begin = past.len().saturating_sub(2 * period).max(period + margin + 1);
    let (mut sudden, mut hit, mut came, mut promised) = (0.0, 0.0, 0.0, 0.0);
    // Of the last period alone: a pattern that has ended is dropped.
    let (mut came_last, mut promised_last) = (0.0, 0.0);
    for i in begin..past.len() {
        let repeats = (1..=LOOK_BACK).take_while(|r| r * period + margin <= i);
        let promise = repeats
            .map(|r| {
                smooth[i - r * period - margin..=(i - r * period + margin).min(i - 1)]
                    .iter()
                    .copied()
                    .fold(0.0, f64::max)
            })
            .fold(0.0, f64::max);
        let before = smooth[i.saturating_sub(lead)];
        came += past[i];
        promised += promise.max(past[i]);
        if i + period >= past.len() {
            came_last += past[i];
            promised_last += promise.max(past[i]);
        }
        if past[i] > before + SUDDEN * (before.max(1.0)).sqrt() {
            sudden += past[i] - before;
            hit += (promise.min(past[i]) - before).max(0.0);
        }
    }
    sudden > SUDDEN_SHARE * came
        && hit >= HIT_SHARE * sudden
        && promised <= PROMISED_MAX * came
        && promised_last <= PROMISED_MAX * came_last
}
