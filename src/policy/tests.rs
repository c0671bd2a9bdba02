//! The room as a whole: text in, policy or faults out; and that files and documents agree with the code.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::error::MAX_FAULTS;
use super::*;
use crate::units::ByteCount;

mod engine;
mod schedule;
mod schema;
mod server;
mod shipped;
mod variants;

/// A model with nothing but what is required, as the last lines of a policy.
const MODEL: &str = "models:\n- name: m\n  variants: [{path: m.gguf}]\n";

fn parse(yaml: &str) -> Result<Policy, PolicyError> {
    Policy::parse(yaml, "p", Path::new("/base"))
}

fn faults(yaml: &str) -> Vec<String> {
    match parse(yaml) {
        Ok(_) => Vec::new(),
        Err(PolicyError::Invalid { faults, .. }) => faults.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// Checks that `yaml` has exactly the faults `expected`, in the text's order.
#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    assert_eq!(faults(yaml), expected, "{yaml}");
}

/// Checks that [`MODEL`] with one more `line` has exactly the fault `expected`.
#[track_caller]
fn check_model(line: &str, expected: &str) {
    check(&format!("{MODEL}  {line}\n"), &[expected]);
}

#[test]
fn values_outside_their_range_or_type_name_the_range() {
    for (line, expected) in [
        ("slots: eight", "4:3: models[0].slots: expected a whole number from 1 to 256, got \"eight\""),
        ("slots: 0", "4:3: models[0].slots: expected a whole number from 1 to 256, got 0"),
        ("slots: 257", "4:3: models[0].slots: expected a whole number from 1 to 256, got 257"),
        ("slots: -1", "4:3: models[0].slots: expected a whole number from 1 to 256, got -1"),
        ("slots: 8.5", "4:3: models[0].slots: expected a whole number from 1 to 256, got 8.5"),
        ("slots: [8]", "4:3: models[0].slots: expected a whole number from 1 to 256, got a list"),
        ("slots: {a: 8}", "4:3: models[0].slots: expected a whole number from 1 to 256, got a mapping"),
        (
            "slots: 99999999999999999999",
            "4:3: models[0].slots: expected a whole number from 1 to 256, got 1e20",
        ),
        (
            "context_tokens: 15",
            "4:3: models[0].context_tokens: expected a whole number from 16 to 16777216, got 15",
        ),
        (
            "sampling: {temperature: .nan}",
            "4:14: models[0].sampling.temperature: expected a number from 0 to 2, got .nan",
        ),
        (
            "sampling: {top_p: 0}",
            "4:14: models[0].sampling.top_p: expected a number above 0 and up to 1, got 0",
        ),
        (
            "queue: {timeout_ms: 1s}",
            "4:11: models[0].queue.timeout_ms: expected a whole number from 1 to 86400000, got \"1s\"",
        ),
        ("queue: 5", "4:3: models[0].queue: expected a mapping (`key: value` lines), got 5"),
    ] {
        check_model(line, expected);
    }
}

#[test]
fn server_and_device_values_name_their_ranges_too() {
    for (line, expected) in [
        ("headroom_fraction: 0.95", "headroom_fraction: expected a number from 0 to 0.9, got 0.95"),
        ("cpu_threads: 0", "cpu_threads: expected a whole number from 1 to 1024, got 0"),
        (
            "host_memory_limit: 0.75",
            "host_memory_limit: expected a share from 1% to 100%, or an amount from 1MiB up such as 8GiB, \
             got 0.75",
        ),
    ] {
        check(&format!("devices:\n  {line}\n{MODEL}"), &[&format!("2:3: devices.{expected}")]);
    }
    for (line, expected) in [
        (
            "listen: localhost:8080",
            "listen: expected an IP address and port such as 127.0.0.1:8080, got \"localhost:8080\"",
        ),
        (
            "max_body_bytes: 10 bananas",
            "max_body_bytes: expected an amount of memory from 1 KiB to 1 GiB, got \"10 bananas\"",
        ),
    ] {
        check(&format!("server:\n  {line}\n{MODEL}"), &[&format!("2:3: server.{expected}")]);
    }
}

#[test]
fn rules_across_keys_name_both_values() {
    for (line, expected) in [
        (
            "scale: {min_instances: 3, max_instances: 2}",
            "4:29: models[0].scale.max_instances: 2 is less than min_instances (3); \
             raise max_instances or lower min_instances",
        ),
        (
            "scale: {min_instances: 5}",
            "4:11: models[0].scale.min_instances: 5 is more than max_instances (4, the default); \
             raise max_instances or lower min_instances",
        ),
        (
            "scale: {idle_unload_after_ms: 10}",
            "4:11: models[0].scale.idle_unload_after_ms: 10 is less than scale_down_after_ms \
             (5000, the default); raise idle_unload_after_ms or lower scale_down_after_ms",
        ),
    ] {
        check_model(line, expected);
    }
    check_model(
        "slots: 256\n  context_tokens: 16777216",
        "5:3: models[0].context_tokens: 16777216 tokens in each of 256 slots are 4294967296, more than an \
         instance's 2147483647; lower context_tokens or slots",
    );
}

#[test]
fn required_keys_are_asked_for_once() {
    let models = "missing; list at least one model with `name` and `variants`";
    check("server: {}", &[&format!("1:1: models: {models}")]);
    check("models:\n", &[&format!("1:1: models: {models}")]);
    check("models: []", &[&format!("1:1: models: {models}")]);
    check("models: 3", &["1:1: models: expected a list (`- ` lines), got 3"]);
    let model = "missing; give `name` and `variants`, or remove this element";
    check("models: [null]", &[&format!("1:10: models[0]: {model}")]);
    check("models: [x]", &["1:10: models[0]: expected a mapping (`key: value` lines), got \"x\""]);
    check(
        "models: [{}]",
        &[
            "1:10: models[0].name: missing; give a name of 1 to 128 letters, digits and . _ : / -",
            "1:10: models[0].variants: missing; list at least one file, such as `- path: model.gguf`",
        ],
    );
    check(
        "models: [{name: a, variants: [{}, null, b.gguf]}]",
        &[
            "1:31: models[0].variants[0].path: missing; give the path of a GGUF file, or embedded:NAME",
            "1:35: models[0].variants[1]: missing; give `path`, or remove this element",
            "1:41: models[0].variants[2]: expected a mapping (`key: value` lines), got \"b.gguf\"",
        ],
    );
}

#[test]
fn names_are_legal_and_unique() {
    let name = |name: &str| format!("models: [{{name: {name}, variants: [{{path: a}}]}}]");
    let expected = "1:11: models[0].name: expected a name of 1 to 128 letters, digits and . _ : / -, got";
    check(&name("my model"), &[&format!("{expected} \"my model\"")]);
    check(&name("''"), &[&format!("{expected} \"\"")]);
    check(&name("7"), &[&format!("{expected} 7; put it in quotes")]);
    check(&name(&"x".repeat(129)), &[&format!("{expected} \"{}\"...", "x".repeat(64))]);
    check(&name("org/model-7b:q4_k.1"), &[]);
    let model = "- {name: a, variants: [{path: x.gguf}]}\n";
    check(
        &format!("models:\n{model}{model}"),
        &["3:4: models[1].name: \"a\" is the name of models[0] too; give each model its own name"],
    );
    check(
        "models: [{name: a, variants: [{path: x/a.gguf}, {path: 'embedded:a.gguf'}, {path: '..'}]}]",
        &[
            "1:50: models[0].variants[1].path: variants[0] is called \"a\" too; rename or remove one of the files",
            "1:77: models[0].variants[2].path: expected the path of a GGUF file, or embedded:NAME, got \"..\"",
        ],
    );
    let many: Vec<String> = (0..17).map(|index| format!("{{path: v{index}}}")).collect();
    let many = many.join(", ");
    check(
        &format!("models: [{{name: a, variants: [{many}]}}]"),
        &["1:20: models[0].variants: 17 variants are more than 16; keep those that are needed"],
    );
}

#[test]
fn all_faults_are_reported_at_once_in_the_order_of_the_text() {
    let yaml = "\
server:
  listen: nowhere
  lisen: 127.0.0.1:1
devices: 7
models:
- name: a
  slot: 4
  slots: many
  slots: 5
  variants: &v
  - path: a.gguf
    rank: 1
  scale:
    min_instances: 3
    max_instances: 2
- nonsense
- name: a
  variants: none
colour: blue
";
    let mapping = "expected a mapping (`key: value` lines), got";
    check(
        yaml,
        &[
            "2:3: server.listen: expected an IP address and port such as 127.0.0.1:8080, got \"nowhere\"",
            "3:3: server.lisen: unknown key; did you mean `listen`?",
            &format!("4:1: devices: {mapping} 7"),
            "7:3: models[0].slot: unknown key; did you mean `slots`?",
            "8:3: models[0].slots: expected a whole number from 1 to 256, got \"many\"",
            "9:3: models[0].slots: this key is already on line 8; keep one of them",
            "10:13: models[0].variants: anchors and aliases are not supported; write the value out",
            "12:5: models[0].variants[0].rank: unknown key; known here: path",
            "15:5: models[0].scale.max_instances: 2 is less than min_instances (3); \
         raise max_instances or lower min_instances",
            &format!("16:3: models[1]: {mapping} \"nonsense\""),
            "17:3: models[2].name: \"a\" is the name of models[0] too; give each model its own name",
            "18:3: models[2].variants: expected a list (`- ` lines) or `auto: FILE`, got \"none\"",
            "19:1: colour: unknown key; known here: server, devices, models",
        ],
    );
}

#[test]
fn texts_that_are_no_policy_are_refused_in_words() {
    let empty = "1:1: the policy is empty; it needs at least `models`";
    check("", &[empty]);
    check("# nothing\n", &[empty]);
    check("---\n", &["2:1: the policy is empty; it needs at least `models`"]);
    check("- a", &["1:1: expected a mapping (`key: value` lines), got a list"]);
    check("hello", &["1:1: expected a mapping (`key: value` lines), got \"hello\""]);
    check(
        &format!("{MODEL}---\n{MODEL}"),
        &["4:1: a policy is one YAML document; remove this `---` and what follows"],
    );
    check(
        "models:\n\t- name: a\n",
        &["2:1: not YAML: found character that cannot start any token, while scanning for the next token; \
         indent with spaces, not tabs"],
    );
    check(
        "models:\n  - name: a\n variants: b\n",
        &["3:2: not YAML: did not find expected key, while parsing a block mapping; \
         check indentation, colons and quotes here"],
    );
    check("a: *nowhere", &["1:4: not YAML: unknown anchor; check indentation, colons and quotes here"]);
    let long = " ".repeat(MAX_POLICY_BYTES + 1);
    check(
        &long,
        &[
            "p: cannot read the policy: it is longer than 1048576 bytes; check that it is the right file, and \
                    shorten it",
        ],
    );
}

#[test]
fn the_number_of_faults_shown_is_bounded() {
    let keys: Vec<String> = (0..1000).map(|index| format!("k{index}: 1\n")).collect();
    let keys = keys.concat();
    assert_eq!(faults(&keys).len(), MAX_FAULTS);
    let error = parse(&keys).expect_err("unknown keys").to_string();
    assert!(error.starts_with("p: 100 faults or more\n"), "{error}");
}

#[test]
fn texts_that_would_grow_when_read_are_not_read() {
    let deep = "nested deeper than 32 levels; a policy needs 5";
    // The parser reads ahead in flow style, and gives up at its own limit.
    check(&"[".repeat(100_000), &[&format!("1:256: {deep}")]);
    check(&"{a: ".repeat(100_000), &[&format!("1:1021: {deep}")]);
    check(&("- ".repeat(1000) + "a"), &[&format!("1:65: {deep}")]);
    let written_out = "anchors and aliases are not supported; write the value out";
    check(
        "a: &a [x, x]\nb: &b [*a, *a]\nslot: 1",
        &[
            &format!("1:4: a: {written_out}"),
            &format!("2:4: b: {written_out}"),
            &format!("2:8: b[0]: {written_out}"),
            &format!("2:12: b[1]: {written_out}"),
        ],
    );
}

#[test]
fn errors_name_the_file_and_each_place_in_it() {
    let error = Policy::parse("models: 1\nx: 1", "burst.yaml", Path::new("")).expect_err("two faults");
    assert_eq!(
        error.to_string(),
        "burst.yaml: 2 faults\n  \
         burst.yaml:1:1: models: expected a list (`- ` lines), got 1\n  \
         burst.yaml:2:1: x: unknown key; known here: server, devices, models"
    );
    let error = parse("a").expect_err("one fault").to_string();
    assert!(error.starts_with("p: 1 fault\n"), "{error}");
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = std::env::temp_dir().join(format!("modelpool-policy-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    fs::write(folder.join("binary.yaml"), b"a: 1\nb: \xff\xfe").expect("written");
    fs::write(folder.join("long.yaml"), vec![b'#'; MAX_POLICY_BYTES + 1]).expect("written");
    fs::write(folder.join("good.yaml"), MODEL).expect("written");
    let read = |name: &str| Policy::from_file(&folder.join(name));
    for (name, expected) in [
        ("absent.yaml", "there is no such file; check the path"),
        ("", "this is a folder; name the file inside it"),
        ("binary.yaml", "line 2 is not UTF-8 text (byte 8); save it as UTF-8"),
        ("long.yaml", "it is longer than 1048576 bytes; check that it is the right file, and shorten it"),
    ] {
        let error = read(name).expect_err(name).to_string();
        assert_eq!(error, format!("{}: cannot read the policy: {expected}", folder.join(name).display()));
    }
    let policy = read("good.yaml").expect("a legal policy");
    let file = ModelFile::Path(folder.join("m.gguf"));
    assert_eq!(policy.models[0].variants, Variants::Listed(vec![VariantPolicy { name: "m".into(), file }]));
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn an_otherwise_empty_model_has_the_defaults() {
    let policy = parse(MODEL).expect("a legal policy");
    assert_eq!(
        policy.devices,
        DevicesPolicy {
            headroom_fraction: 0.05,
            headroom_bytes: ByteCount::ZERO,
            host_memory_limit: MemoryLimit::Fraction(0.75),
            cpu_threads: None,
        }
    );
    let model = policy.model("m").expect("the model");
    assert_eq!((model.context_tokens, model.slots, model.priority), (4096, 8, 50));
    assert_eq!((&model.devices, model.scale.quality), (&None, Quality::Flexible));
    assert_eq!(
        model.sampling,
        SamplingPolicy { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.0, repeat_penalty: 1.0 }
    );
    assert_eq!(policy.model("M"), None);
}

#[test]
fn values_arrive_as_they_are_written() {
    let yaml = "
server: {listen: '[::1]:1', drain_timeout_ms: 0, max_body_bytes: 2048}
devices: {headroom_fraction: 0, host_memory_limit: 8GiB, cpu_threads: 3}
models:
- {name: m, variants: [{path: /abs/a.b.gguf}, {path: 'embedded:c.gguf'}, {path: sub/d.gguf}], slots: null}
";
    let policy = parse(yaml).expect("a legal policy");
    assert_eq!(policy.server.listen.to_string(), "[::1]:1");
    assert_eq!(policy.server.drain_timeout, Duration::ZERO);
    assert_eq!(policy.server.max_body_bytes, ByteCount(2048));
    assert_eq!(policy.devices.host_memory_limit, MemoryLimit::Bytes(ByteCount::from_mib(8 << 10)));
    assert_eq!(policy.devices.cpu_threads.map(std::num::NonZeroU32::get), Some(3));
    assert_eq!(policy.models[0].slots, 8);
    let variant = |name: &str, file| VariantPolicy { name: name.to_owned(), file };
    assert_eq!(
        policy.models[0].variants,
        Variants::Listed(vec![
            variant("a.b", ModelFile::Path("/abs/a.b.gguf".into())),
            variant("c", ModelFile::Embedded("c.gguf".to_owned())),
            variant("d", ModelFile::Path("/base/sub/d.gguf".into())),
        ])
    );
}

#[test]
fn a_memory_limit_never_exceeds_the_machine() {
    let total = ByteCount::from_mib(1000);
    for (limit, mib) in [
        (MemoryLimit::Fraction(0.75), 750),
        (MemoryLimit::Bytes(ByteCount::from_mib(10)), 10),
        (MemoryLimit::Bytes(ByteCount::from_mib(2000)), 1000),
    ] {
        assert_eq!(limit.of(total), ByteCount::from_mib(mib), "{limit:?}");
    }
}
