//! What every page must be: well-formed, free of foreign tags, complete, and there even where nothing happened.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::policy::Policy;
use crate::sim::{Machine, Note, Plan, Service, Shape, Slo, Trace, compare};

const HOSTILE: &str = "</title></script><script>alert(1)</script><!-- \"'&\u{0}";

fn page(models: &str, trace: &Trace, change: impl FnOnce(&mut Outcome)) -> String {
    let policy =
        Policy::parse(&format!("models: [{models}]"), "the test", Path::new(".")).expect("a legal policy");
    let machine = Machine { services: vec![Service::default(); 2], gpus: 1, memory: None };
    let slo = Slo { ttft: Duration::from_secs(2), from: Duration::ZERO };
    let plans = if policy.models.len() == 1 { &Plan::ALL[..] } else { &[Plan::Policy] };
    let mut comparison = compare(plans, &policy.models, &machine, trace, slo);
    change(&mut comparison.outcomes[0].1);
    let report = Report { trace, slo, comparison: &comparison, machine: &machine };
    Page { policy: HOSTILE, policies: &policy.models, report: &report }.text()
}

const ONE: &str = "{name: m, variants: [{path: m.gguf}, {path: q.gguf}], scale: {max_instances: 16}}";

/// Asserts that tags are balanced, attributes quoted, and nothing is left of what should be escaped.
fn check(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a stray > in {:?}", &rest[..at]);
        let end = at + rest[at..].find('>').expect("each tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or_default();
        assert!(tag.matches('"').count().is_multiple_of(2) && !tag.contains('<'), "<{tag}>");
        if tag.starts_with('!') || matches!(name, "meta") || tag.ends_with('/') {
            assert!(tag.starts_with("!DOCTYPE") || !tag.starts_with('!'), "<{tag}>");
        } else if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "before {:?}", rest.get(..80));
        } else if matches!(name, "script" | "style") {
            // What is in them is no markup.
            let close = format!("</{name}>");
            rest = &rest[rest.find(&close).expect("it ends") + close.len()..];
        } else {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "open at the end: {open:?}");
    assert!(!page.contains("NaN") && !page.contains("inf%"), "a figure that is none");
    assert!(
        !page.contains("http://") && !page.contains("https://") && !page.contains("url("),
        "it loads something"
    );
}

#[test]
fn foreign_text_stays_text() {
    let mut trace = Shape::Burst.trace(900.0, 1.0, 1);
    trace.name = HOSTILE.to_owned();
    let page = page(ONE, &trace, |outcome| {
        let note = |millis| Note {
            millis,
            model: HOSTILE.into(),
            target_instances: 1,
            starts: 1,
            drains: 0,
            reason: "idle",
            why: HOSTILE.into(),
        };
        outcome.notes = vec![note(0), note(500_000)];
    });
    check(&page);
    assert!(!page.contains("alert(1)</script>") && !page.contains("<!--") && !page.contains('\0'));
    assert_eq!(page.matches("<script").count(), 2);
    assert!(page.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn a_page_has_its_charts_marks_and_tables() {
    let trace = Shape::Burst.trace(3600.0, 1.0, 1);
    let (mut notes, mut moments) = (0, 0);
    let page = page(ONE, &trace, |outcome| (notes, moments) = (outcome.notes.len(), outcome.moments.len()));
    check(&page);
    for id in ["arrivals", "queue", "instances", "memory", "ttft"] {
        assert_eq!(page.matches(&format!("<figure id=\"{id}\">")).count(), 1, "{id}");
    }
    let marks = page.matches("class=\"mark ").count();
    assert!(notes > 5 && (2..=notes.min(500)).contains(&marks), "{marks} marks of {notes} decisions");
    assert_eq!(page.matches("tabindex=\"0\" role=\"img\"").count(), 1, "one mark can be tabbed to");
    assert_eq!(page.matches("<td><code>").count(), notes.min(tables::LISTED_MAX));
    // A heading, a row for each plan, and the clairvoyant.
    assert_eq!(page.matches("<th scope=\"row\">").count(), Plan::ALL.len() + 1);
    assert!(page.contains("SLO 2 s") && page.contains(">10 min<") && page.contains("GiB<"));
    let data = page.split("id=\"moments\">").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let shown = data["times"].as_array().unwrap().len();
    // The last stretch may have no width.
    assert!((moments - 1..=moments).contains(&shown), "{shown} of {moments}");
    for chart in 0..5 {
        assert_eq!(data["values"][chart].as_array().unwrap().len(), shown);
    }
}

#[test]
fn where_nothing_happened_there_is_a_page_as_well() {
    for length in [Duration::ZERO, Duration::from_secs(100)] {
        let trace = Trace::new("t", Vec::new(), length);
        let empty = page(ONE, &trace, |_| ());
        check(&empty);
        assert!(empty.contains("None: nothing was started"));
        check(&page(ONE, &trace, |outcome| outcome.moments.clear()));
    }
    let mut single = Shape::Poisson.trace(60.0, 1.0, 1);
    single.requests.truncate(1);
    single.length = Duration::ZERO;
    check(&page(ONE, &single, |_| ()));
}

#[test]
fn several_models_are_told_apart() {
    let mut trace = Shape::Burst.trace(600.0, 1.0, 1);
    trace.requests.iter_mut().step_by(2).for_each(|request| request.model = 1);
    let models = "{name: chat, variants: [path: a.gguf]}, {name: batch, variants: [path: b.gguf]}";
    let page = page(models, &trace, |_| ());
    check(&page);
    assert!(page.contains("<th scope=\"col\">model</th>") && page.contains("<td>batch</td>"));
    assert!(page.contains("<dd>chat, batch</dd>"));
}
