//! Traffic that was recorded: when requests came, and how long they were.

use std::io::BufRead;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::service::seconds;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it came, after the beginning of the trace.
    pub at: Duration,
    /// Index of its model in the policy.
    pub model: u32,
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Tokens of its answer.
    pub answer_tokens: u32,
}

/// Requests in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Where it is from.
    pub name: String,
    /// The requests.
    pub requests: Vec<Request>,
    /// How long it is; no request comes later.
    pub length: Duration,
    /// When it began, for schedules.
    pub began: Timestamp,
}

/// What is wrong with a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("{name}: {error}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// A line is no request.
    #[error("{name}:{line}: {reason}")]
    Line {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no request.
    #[error(
        "{name}: no request in it; expected CSV with the columns timestamp, context tokens and generated tokens, or \
             JSON lines with timestamp, prompt_tokens and completion_tokens"
    )]
    Empty {
        /// The file.
        name: String,
    },
}

/// A request as a line of JSON; other keys are ignored, so that a server's request log can be read.
#[derive(Deserialize)]
struct Line {
    /// When it came: a server's log has that apart from when the line was written.
    #[serde(default)]
    arrived: Option<serde_json::Value>,
    timestamp: serde_json::Value,
    #[serde(alias = "context_tokens", alias = "ContextTokens")]
    prompt_tokens: u32,
    #[serde(alias = "generated_tokens", alias = "GeneratedTokens", alias = "answer_tokens")]
    completion_tokens: u32,
    #[serde(default)]
    model: Option<String>,
}

/// 1 January 2024, UTC.
const MONDAY: Timestamp = Timestamp::constant(1_704_067_200, 0);
/// Seconds that are more than this are since 1970, others since whenever.
const EPOCH_SECONDS: f64 = 1e9;

impl Trace {
    /// A trace of this length that begins on some Monday at midnight, UTC.
    #[must_use]
    pub fn new(name: &str, requests: Vec<Request>, length: Duration) -> Self {
        Self { name: name.to_owned(), requests, length, began: MONDAY }
    }

    /// Date and time of day of a time since its beginning.
    #[must_use]
    pub fn wall_clock(&self, since: crate::units::Timestamp) -> Timestamp {
        self.began
            .saturating_add(SignedDuration::try_from(since.since_start()).unwrap_or(SignedDuration::MAX))
            .unwrap_or(Timestamp::MAX)
    }

    /// Reads CSV (`timestamp, context tokens, generated tokens`, as in the Azure LLM inference traces) or JSON lines.
    /// Timestamps are seconds or dates; they need not be in order. `models`: the policy's; a request that names none
    /// of them goes to the first.
    ///
    /// # Errors
    ///
    /// [`TraceError`], with the line.
    pub fn read(text: impl BufRead, name: &str, models: &[&str]) -> Result<Self, TraceError> {
        let mut found: Vec<(f64, Request)> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.map_err(|error| TraceError::Read { name: name.to_owned(), error })?;
            let line = line.trim().trim_start_matches('\u{feff}');
            if line.is_empty() || (number == 0 && is_heading(line)) {
                continue;
            }
            let parsed = if line.starts_with('{') { json(line, models) } else { csv(line) };
            // A log has other lines as well.
            match parsed {
                Ok(Some(request)) => found.push(request),
                Ok(None) => {}
                Err(reason) => {
                    return Err(TraceError::Line { name: name.to_owned(), line: number + 1, reason });
                }
            }
        }
        Self::from_times(found, name)
    }

    fn from_times(mut found: Vec<(f64, Request)>, name: &str) -> Result<Self, TraceError> {
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (Some(&(first, _)), Some(&(last, _))) = (found.first(), found.last()) else {
            return Err(TraceError::Empty { name: name.to_owned() });
        };
        // Seconds since 1970 have seven digits for what is below one.
        let since_first = |at: f64| seconds(((at - first) * 1e6).round() / 1e6);
        let requests = found.into_iter().map(|(at, request)| Request { at: since_first(at), ..request });
        let began = Some(first).filter(|first| *first > EPOCH_SECONDS);
        let began = began
            .and_then(|first| Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs_f64(first)).ok());
        let trace = Self::new(name, requests.collect(), since_first(last));
        Ok(Self { began: began.unwrap_or(trace.began), ..trace })
    }

    /// Its part from `from` to `to`, as a trace of its own.
    #[must_use]
    pub fn part(&self, from: Duration, to: Duration) -> Self {
        let inside = self.requests.iter().filter(|request| (from..to).contains(&request.at));
        let requests = inside.map(|request| Request { at: request.at.saturating_sub(from), ..*request });
        Self {
            name: self.name.clone(),
            requests: requests.collect(),
            length: to.min(self.length).saturating_sub(from),
            began: self.wall_clock(crate::units::Timestamp::new(from)),
        }
    }
}

/// A first line of CSV that has no figures.
fn is_heading(line: &str) -> bool {
    !line.starts_with('{') && !line.contains(|c: char| c.is_ascii_digit())
}

fn csv(line: &str) -> Result<Option<(f64, Request)>, String> {
    let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
    let [timestamp, prompt, answer, ..] = fields[..] else {
        return Err(format!("expected timestamp, context tokens and generated tokens, got {line:?}"));
    };
    let tokens = |text: &str| text.parse().map_err(|_| format!("expected a number of tokens, got {text:?}"));
    let (prompt_tokens, answer_tokens) = (tokens(prompt)?, tokens(answer)?);
    Ok(Some((time(timestamp)?, Request { at: Duration::ZERO, model: 0, prompt_tokens, answer_tokens })))
}

fn json(line: &str, models: &[&str]) -> Result<Option<(f64, Request)>, String> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let fields = value.get("fields").cloned().map(|mut fields| {
        // tracing's JSON has an event's own fields one level deeper.
        if let (Some(fields), Some(time)) = (fields.as_object_mut(), value.get("timestamp")) {
            fields.insert("timestamp".into(), time.clone());
        }
        fields
    });
    let value = fields.unwrap_or(value);
    if ["prompt_tokens", "context_tokens", "ContextTokens"].iter().all(|key| value.get(key).is_none()) {
        return Ok(None);
    }
    // What a server took from its cache cost no slot.
    if value.get("cache").is_some_and(serde_json::Value::is_string) {
        return Ok(None);
    }
    let line: Line = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let at = match line.arrived.as_ref().unwrap_or(&line.timestamp) {
        serde_json::Value::Number(number) => number.as_f64().ok_or("a timestamp that is no time")?,
        serde_json::Value::String(text) => time(text)?,
        other => return Err(format!("expected a timestamp in seconds or a date, got {other}")),
    };
    let model = line.model.and_then(|name| models.iter().position(|model| *model == name)).unwrap_or(0);
    let request = Request {
        at: Duration::ZERO,
        model: u32::try_from(model).unwrap_or(0),
        prompt_tokens: line.prompt_tokens,
        answer_tokens: line.completion_tokens,
    };
    Ok(Some((at, request)))
}

/// Seconds, of a number or a date with its time.
fn time(text: &str) -> Result<f64, String> {
    if let Some(number) = text.parse().ok().filter(|number: &f64| number.is_finite()) {
        return Ok(number);
    }
    let date: DateTime = text
        .trim_end_matches('Z')
        .parse()
        .map_err(|_| format!("expected seconds or a date such as 2023-11-16 18:15:46.68, got {text:?}"))?;
    Ok(date.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0)).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trace, TraceError> {
        Trace::read(text.as_bytes(), "t", &["a", "b"])
    }

    fn brief(trace: &Trace) -> Vec<(u128, u32, u32, u32)> {
        let brief = |r: &Request| (r.at.as_millis(), r.model, r.prompt_tokens, r.answer_tokens);
        trace.requests.iter().map(brief).collect()
    }

    #[test]
    fn csv_and_json_lines_are_read_and_put_in_order() {
        let csv = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6800000,374,44\n\
                   2023-11-16 18:15:50.5,396,109\n2023-11-16 18:15:48,1,2\n";
        let trace = read(csv).unwrap();
        assert_eq!(brief(&trace), [(0, 0, 374, 44), (1320, 0, 1, 2), (3820, 0, 396, 109)]);
        assert_eq!(trace.length, Duration::from_millis(3820));
        let json = "{\"timestamp\": 5.5, \"prompt_tokens\": 3, \"completion_tokens\": 4, \"model\": \"b\", \"x\": 1}\n\n\
                    {\"timestamp\": \"1970-01-01T00:00:05Z\", \"context_tokens\": 1, \"generated_tokens\": 2}\n\
                    {\"level\": \"INFO\", \"message\": \"listening\"}\n\
                    {\"timestamp\": 9, \"fields\": {\"prompt_tokens\": 7, \"completion_tokens\": 8, \"model\": \"?\"}}\n";
        assert_eq!(brief(&read(json).unwrap()), [(0, 0, 1, 2), (500, 1, 3, 4), (4000, 0, 7, 8)]);
        // A server's log: what was refused before its tokens were counted is left out, and what came from its cache.
        let log = "{\"timestamp\": \"2026-11-26T09:00:09Z\", \"arrived\": \"2026-11-26T09:00:04.5Z\", \"prompt_tokens\": 3, \"completion_tokens\": 4}\n\
                   {\"timestamp\": \"2026-11-26T09:00:05Z\", \"arrived\": \"2026-11-26T09:00:01.5Z\", \"prompt_tokens\": 1, \"completion_tokens\": 0}\n\
                   {\"timestamp\": \"2026-11-26T09:00:05Z\", \"arrived\": \"2026-11-26T09:00:01.5Z\", \"completion_tokens\": 0, \"outcome\": \"rejected\"}\n\
                   {\"timestamp\": \"2026-11-26T09:00:05Z\", \"prompt_tokens\": 1, \"completion_tokens\": 9, \"cache\": \"hit\"}\n";
        let log = read(log).unwrap();
        assert_eq!(brief(&log), [(0, 0, 1, 0), (3000, 0, 3, 4)]);
        let clock =
            |seconds: u64| log.wall_clock(crate::units::Timestamp::from_millis(seconds * 1000)).to_string();
        assert_eq!((clock(0), clock(60)), ("2026-11-26T09:00:01.5Z".into(), "2026-11-26T09:01:01.5Z".into()));
        let half = trace.part(Duration::from_secs(1), Duration::from_secs(3));
        assert_eq!((brief(&half), half.length), (vec![(320, 0, 1, 2)], Duration::from_secs(2)));
    }

    #[test]
    fn faults_name_the_line() {
        for (text, expected) in [
            ("1,2\n", "t:1: expected timestamp, context tokens and generated tokens"),
            ("a,b,c\nyesterday,2,3\n", "t:2: expected seconds or a date"),
            ("0,1,2\n1,many,3\n", "t:2: expected a number of tokens, got \"many\""),
            ("{\"prompt_tokens\": 1, \"completion_tokens\": 1}\n", "t:1: missing field `timestamp`"),
            ("", "t: no request in it"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
