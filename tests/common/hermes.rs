//! The demo model with the template of another family in its file.

use std::fs;
use std::path::Path;

use modelpool::policy::Policy;

use super::World;

/// Knows tools, calls and thoughts in the way of Qwen 3.
const TEMPLATE: &str = "{{tools|tojson}}{%for m in messages%}{{m.role}}\n{{m.content}}{%for c in m.tool_calls%}<tool_call>\
                        {{c.function|tojson}}{%endfor%}\n{%endfor%}assistant\n{#</think>#}";

/// A server of it, in `folder`. The template takes the old one's place in the file.
pub async fn hermes(folder: &Path) -> World {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-f16.gguf");
    let mut bytes = fs::read(demo).unwrap();
    let header = String::from_utf8_lossy(&bytes[..1 << 17]).into_owned();
    let start = header.find("{% for message").expect("a template");
    let end = start + header[start..].find("{% endif %}").unwrap() + "{% endif %}".len();
    let old = header.as_bytes()[start..end].to_vec();
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    assert!(TEMPLATE.len() <= old.len(), "{} bytes do not fit into {}", TEMPLATE.len(), old.len());
    let padded = format!("{TEMPLATE:<width$}", width = old.len());
    bytes[at..at + old.len()].copy_from_slice(padded.as_bytes());
    fs::write(folder.join("model.gguf"), bytes).unwrap();
    let text = "server: { listen: \"127.0.0.1:0\", drain_timeout_ms: 20000 }\n\
                models: [{ name: hermes, context_tokens: 1024, variants: [{ path: model.gguf }], scale: { max_instances: 1 } }]";
    World::serve(&Policy::parse(text, "the test's policy", folder).unwrap(), "").await
}
