//! Asks a server and reads what it answers.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};

use super::answer::{Answer, Failure, FailureKind, Timeline};
use super::http::{HttpClient, HttpError, Reply};
use super::prompts::Length;
use super::stream::EventReader;
use super::{Endpoint, ServerArguments};

/// What a server gets to say whether it is ready.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks whether it is.
const HEALTH_POLL: Duration = Duration::from_millis(200);
/// How much of what a server said about a failure is kept.
const DETAIL_CHARACTERS: usize = 300;

/// What all requests to one server have in common.
#[derive(Debug)]
pub(super) struct Asker {
    http: HttpClient,
    endpoint: Endpoint,
    /// The body without the prompt.
    body: Value,
    timeout: Duration,
}

impl Asker {
    pub(super) fn new(http: HttpClient, model: &str, arguments: &ServerArguments) -> Self {
        let mut body = json!({
            "model": model, "stream": true, "stream_options": { "include_usage": true },
            "max_tokens": arguments.max_tokens,
        });
        if let Some(temperature) = arguments.temperature {
            body["temperature"] = temperature.into();
        }
        if arguments.ignore_eos {
            body["ignore_eos"] = true.into();
        }
        Self { http, endpoint: arguments.endpoint, body, timeout: arguments.timeout }
    }

    /// Asks once.
    pub(super) async fn ask(&self, prompt: &str) -> Result<Answer, Failure> {
        self.ask_with(prompt, &[]).await
    }

    async fn ask_with(&self, prompt: &str, more: &[(&str, Value)]) -> Result<Answer, Failure> {
        let mut body = self.body.clone();
        for (key, value) in more {
            body[key] = value.clone();
        }
        let path = match self.endpoint {
            Endpoint::Chat => {
                body["messages"] = json!([{ "role": "user", "content": prompt }]);
                "/v1/chat/completions"
            }
            Endpoint::Completions => {
                body["prompt"] = prompt.into();
                "/v1/completions"
            }
        };
        let begun = Instant::now();
        let asked = self.exchange(path, body.to_string(), begun);
        let late = || FailureKind::Timeout.with(format!("no complete answer after {:?}", self.timeout));
        tokio::time::timeout(self.timeout, asked).await.unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(&self, path: &str, body: String, begun: Instant) -> Result<Answer, Failure> {
        let mut reply = self.http.send(Method::POST, path, body).await.map_err(|error| failure(&error))?;
        if reply.status != 200 {
            return Err(refused(reply).await);
        }
        let (mut reader, mut timeline) = (EventReader::default(), Timeline::default());
        while let Some(part) = reply.next().await {
            let at = begun.elapsed();
            match part {
                Ok(bytes) => reader.push(&bytes, |event| timeline.note(at, event)),
                Err(error) => {
                    timeline.fail(FailureKind::CutOff.with(error.to_string()));
                    return timeline.end();
                }
            }
        }
        let at = begun.elapsed();
        reader.end(|event| timeline.note(at, event));
        timeline.end()
    }

    /// How many tokens `prompt` has, as the server counts; `None` if it does not say.
    ///
    /// # Errors
    ///
    /// What the server has against the request.
    pub(super) async fn count(&self, prompt: &str) -> Result<Option<u64>, Failure> {
        let answer = self.ask_with(prompt, &[("max_tokens", 1.into())]).await?;
        Ok(answer.prompt_tokens)
    }

    /// Asks for two short prompts to learn how many tokens a word has. That also loads the model, and tells whether
    /// the server takes such requests at all. `prompt` makes one of so many words.
    pub(super) async fn measure_length(
        &self,
        prompt_tokens: u32,
        mut prompt: impl FnMut(u32) -> String,
    ) -> Result<Length, Failure> {
        // Not longer than what is to come, which has to fit into the context.
        let short = (prompt_tokens / 4).max(4);
        let long = (prompt_tokens / 2).max(2 * short);
        let counts = (self.count(&prompt(short)).await?, self.count(&prompt(long)).await?);
        Ok(match counts {
            (Some(first), Some(second)) => Length::measured((short, first), (long, second)),
            _ => Length::UNKNOWN,
        })
    }
}

fn failure(error: &HttpError) -> Failure {
    let kind =
        if matches!(error, HttpError::Connect { .. }) { FailureKind::Connect } else { FailureKind::CutOff };
    kind.with(error.to_string())
}

/// What a server says that refuses.
async fn refused(reply: Reply<'_>) -> Failure {
    let kind = FailureKind::Status(reply.status);
    let text = reply.text().await.unwrap_or_else(|error| error.to_string());
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let said = body["error"]["message"].as_str().unwrap_or(text.trim());
    kind.with(said.chars().take(DETAIL_CHARACTERS).collect::<String>())
}

/// Waits until a server is ready.
///
/// # Errors
///
/// If it is not within `patience`.
pub(super) async fn wait_until_ready(http: &HttpClient, patience: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let asked = tokio::time::timeout(HEALTH_TIMEOUT, http.send(Method::GET, "/health", String::new()));
        let why = match asked.await {
            // Not every server has such a path, and then it says so, which is an answer, too.
            Ok(Ok(reply)) if reply.status != 503 => {
                drop(reply.text().await);
                return Ok(());
            }
            Ok(Ok(reply)) => refused(reply).await.detail,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {HEALTH_TIMEOUT:?}"),
        };
        if begun.elapsed() >= patience {
            anyhow::bail!(
                "{} is not ready: {why}; start the server, correct the URL, or wait longer with --wait",
                http.target()
            );
        }
        tokio::time::sleep(HEALTH_POLL).await;
    }
}

/// The names of the models on offer; none if the server does not say.
pub(super) async fn models(http: &HttpClient) -> anyhow::Result<Vec<String>> {
    let reply = http.send(Method::GET, "/v1/models", String::new()).await;
    let reply = reply.with_context(|| format!("{} does not answer", http.target()))?;
    let text = reply.text().await.unwrap_or_default();
    let list: Value = serde_json::from_str(&text).unwrap_or_default();
    let models = list["data"].as_array().into_iter().flatten();
    Ok(models.filter_map(|model| model["id"].as_str().map(str::to_owned)).collect())
}
