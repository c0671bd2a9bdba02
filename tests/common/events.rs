//! Streams whose events have names, as Anthropic's Messages and OpenAI's Responses do.

use serde_json::{Value, json};

use super::{PATIENCE, World};

/// A path's events for a body, in order: each is checked to have the name that its type is.
pub async fn events(world: &World, path: &str, body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let response = world.post(path, &body).await;
    assert_eq!(response.status(), 200, "{body}");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = tokio::time::timeout(PATIENCE, response.text()).await.expect("an end in time").expect("text");
    let frames = text.split_terminator("\n\n").filter(|frame| !frame.starts_with(": "));
    frames.map(event).collect()
}

fn event(frame: &str) -> Value {
    let (name, data) = frame.split_once('\n').unwrap_or_else(|| panic!("no event: {frame:?}"));
    let name = name.strip_prefix("event: ").unwrap_or_else(|| panic!("no name: {frame:?}"));
    let data = data.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {frame:?}"));
    let data: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
    assert_eq!(data["type"], name, "{data}");
    data
}

/// The types of events, without those that follow one of the same type.
pub fn types(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}
