//! Proves that operators see what there is, that their orders are followed, and that a policy is read, judged and replaced
//! over HTTP. Most with the fake engine; the policy's file with the program itself.

mod common;

use std::fs;
use std::sync::atomic::Ordering::Relaxed;

use common::process::Serving;
use common::{World, client};
use reqwest::Method;
use serde_json::{Value, json};

async fn ask(client: &reqwest::Client, method: Method, url: &str, body: String) -> (u16, Value) {
    let response = client.request(method, url).body(body).send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn get(world: &World, path: &str) -> Value {
    let (status, answer) =
        ask(&world.client, Method::GET, &format!("{}{path}", world.url), String::new()).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

async fn post(world: &World, path: &str, body: &Value) -> (u16, Value) {
    ask(&world.client, Method::POST, &format!("{}{path}", world.url), body.to_string()).await
}

/// Waits until what operators see is as `wanted`.
async fn wait_for(world: &World, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    loop {
        let seen = get(world, path).await;
        if wanted(&seen) {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "{path} stays {seen}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn ready(instances: &Value) -> usize {
    let instances = instances["instances"].as_array().unwrap().iter();
    instances.filter(|instance| instance["state"] == "ready").count()
}

#[tokio::test]
async fn a_model_is_loaded_pinned_and_unloaded_without_a_request() {
    let (world, controls) = World::fake("  slots: 3").await;
    assert_eq!(get(&world, "/admin/instances").await, json!({ "instances": [] }));
    let body = json!({ "model": world.model, "instances": 2 });
    let (status, answer) = post(&world, "/admin/models/load", &body).await;
    assert_eq!((status, &answer["loading"]), (200, &json!(2)), "{answer}");
    let seen = wait_for(&world, "/admin/instances", |seen| ready(seen) == 2).await;
    let first = &seen["instances"][0];
    assert_eq!(
        (&first["model"], &first["variant"], &first["devices"]),
        (&json!(world.model), &json!("tidepool-3m-f16"), &json!("host"))
    );
    assert_eq!(
        (&first["slots"], &first["slots_busy"], &first["process"]),
        (&json!(3), &json!(0), &Value::Null)
    );
    assert!(
        first["memory_bytes"].as_u64().unwrap() > 0 && first["worker_memory_bytes"].as_u64().unwrap() > 0
    );
    assert_eq!(get(&world, "/v1/models").await["data"][0]["status"]["value"], "loaded");
    assert_eq!(controls.loads.load(Relaxed), 1, "they share the weights");
    let slots = get(&world, "/slots").await;
    assert_eq!(slots.as_array().unwrap().len(), 6);
    assert_eq!((&slots[5]["id"], &slots[5]["is_processing"]), (&json!(5), &json!(false)));

    let (status, _) = post(&world, "/admin/models/unload", &json!({ "model": world.model })).await;
    assert_eq!(status, 200);
    wait_for(&world, "/admin/instances", |seen| seen["instances"] == json!([])).await;
    let decisions = get(&world, &format!("/admin/decisions?model={}", world.model)).await;
    let reasons: Vec<&str> = decisions["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["reason"].as_str().unwrap())
        .collect();
    let place =
        |reason| reasons.iter().position(|one| *one == reason).unwrap_or_else(|| panic!("{reasons:?}"));
    assert!(place("unloaded") < place("ordered"), "the latest comes first: {reasons:?}");
    let ordered = &decisions["decisions"][place("ordered")];
    assert_eq!(
        ordered["actions"][0],
        json!({ "action": "start", "variant": "tidepool-3m-f16", "devices": "host" })
    );
    assert_eq!(ordered["explanation"], "an operator wants at least 2 instances");
    assert_eq!(get(&world, "/admin/decisions?limit=1").await["decisions"].as_array().unwrap().len(), 1);

    // A request loads it again, and a pin holds it.
    let pin = json!({ "model": world.model, "variant": "tidepool-3m-f16" });
    assert_eq!(post(&world, "/admin/models/pin", &pin).await.0, 200);
    wait_for(&world, "/admin/instances", |seen| ready(seen) == 1).await;
    let (status, answer) =
        post(&world, "/admin/models/pin", &json!({ "model": world.model, "pinned": false })).await;
    assert_eq!((status, &answer["pinned"]), (200, &json!(false)));
}

#[tokio::test]
async fn orders_that_cannot_be_followed_are_refused_with_the_field() {
    let (world, _) = World::fake("  scale: { max_instances: 2 }").await;
    for (path, body, status, field) in [
        ("load", json!({}), 400, "model"),
        ("load", json!({ "model": "other" }), 404, "model"),
        ("load", json!({ "model": world.model, "instances": 0 }), 400, "instances"),
        ("pin", json!({ "model": world.model, "instances": 3 }), 400, "instances"),
        ("pin", json!({ "model": world.model, "variant": "other" }), 400, "variant"),
        ("unload", json!([]), 400, ""),
    ] {
        let (found, answer) = post(&world, &format!("/admin/models/{path}"), &body).await;
        let param = answer["error"]["param"].as_str().unwrap_or_default();
        assert_eq!((found, param), (status, field), "{path} {body}: {answer}");
    }
    let url = format!("{}/admin/decisions?limit=many", world.url);
    assert_eq!(ask(&world.client, Method::GET, &url, String::new()).await.0, 400);
    assert_eq!(get(&world, "/admin/instances").await, json!({ "instances": [] }));
}

#[tokio::test]
async fn a_server_that_an_operator_drains_takes_nothing_until_it_resumes() {
    let (world, _) = World::fake("").await;
    let chat = world.chat("hi", &json!({ "max_tokens": 1 }));
    let (status, answer) =
        ask(&world.client, Method::POST, &format!("{}/admin/drain", world.url), String::new()).await;
    assert_eq!((status, &answer), (200, &json!({ "draining": true, "requests": 0 })));
    let refused = world.post("/v1/chat/completions", &chat).await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true));
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "draining");
    assert_eq!(world.client.get(format!("{}/health", world.url)).send().await.unwrap().status(), 503);
    assert_eq!(post(&world, "/admin/drain", &json!({ "drain": false })).await.1["draining"], false);
    assert_eq!(world.post("/v1/chat/completions", &chat).await.status(), 200);
}

#[tokio::test]
async fn properties_are_those_of_the_model() {
    let (world, _) = World::fake("  slots: 2\n  sampling: { top_k: 7 }").await;
    let props = get(&world, "/props").await;
    assert_eq!((&props["total_slots"], &props["slots_per_instance"]), (&json!(0), &json!(2)));
    assert_eq!((&props["is_sleeping"], &props["model_path"]), (&json!(true), &json!("tidepool-3m-f16.gguf")));
    let settings = &props["default_generation_settings"];
    assert_eq!((&settings["n_ctx"], &settings["params"]["top_k"]), (&json!(1024), &json!(7)));
    assert!(props["chat_template"].as_str().unwrap().contains("messages"));
    let url = format!("{}/props?model=other", world.url);
    assert_eq!(ask(&world.client, Method::GET, &url, String::new()).await.0, 404);
}

/// A server of a policy's file.
fn serve(policy: &str) -> (tempfile::TempDir, Serving) {
    let folder = tempfile::tempdir().unwrap();
    let demo =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-q8_0.gguf");
    fs::copy(demo, folder.path().join("model.gguf")).unwrap();
    let path = folder.path().join("policy.yaml");
    fs::write(&path, policy).unwrap();
    let server = Serving::start(folder.path(), &["--policy", path.to_str().unwrap()]);
    (folder, server)
}

const POLICY: &str = "# mine\nserver: { listen: \"127.0.0.1:0\" }\nmodels:\n\
                      - { name: m, variants: [{ path: model.gguf }], context_tokens: 256 }\n";

#[tokio::test]
async fn without_a_key_for_operators_they_only_look() {
    let (folder, server) = serve(POLICY);
    let client = client();
    let policy = format!("{}/admin/policy", server.url);
    assert_eq!(ask(&client, Method::GET, &policy, String::new()).await, (200, Value::String(POLICY.into())));
    for (method, path) in [
        (Method::PUT, "policy"),
        (Method::POST, "policy/validate"),
        (Method::POST, "models/unload"),
        (Method::POST, "drain"),
    ] {
        let url = format!("{}/admin/{path}", server.url);
        let (status, answer) = ask(&client, method, &url, "{}".into()).await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("admin_key_required")), "{path}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("policy.yaml")).unwrap(), POLICY);
}

/// In this process, with a policy's file.
async fn with_file(folder: &std::path::Path) -> World {
    let demo =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/tidepool-3m-q8_0.gguf");
    fs::copy(demo, folder.join("model.gguf")).unwrap();
    fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    let policy = modelpool::policy::Policy::from_file(&folder.join("policy.yaml")).unwrap();
    World::serve(&policy, "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_judged_and_replaced_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let world = with_file(folder.path()).await;
    let (policy, validate) =
        (format!("{}/admin/policy", world.url), format!("{}/admin/policy/validate", world.url));
    let put = async |text: &str| ask(&world.client, Method::PUT, &policy, text.into()).await;
    let judge = async |text: &str| ask(&world.client, Method::POST, &validate, text.into()).await;
    let file = || fs::read_to_string(folder.path().join("policy.yaml")).unwrap();

    let wrong = POLICY.replace("context_tokens: 256", "context_tokens: many");
    let missing = POLICY.replace("model.gguf", "absent.gguf");
    for (text, says) in
        [(wrong.as_str(), "context_tokens"), (missing.as_str(), "absent.gguf"), ("a: [", "YAML")]
    {
        let (status, verdict) = judge(text).await;
        assert_eq!((status, &verdict["valid"]), (200, &json!(false)), "{verdict}");
        assert!(verdict["message"].as_str().unwrap().contains(says), "{verdict}");
        let (status, answer) = put(text).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_policy")), "{answer}");
    }
    assert_eq!(judge(&wrong).await.1["faults"][0]["path"], "models[0].context_tokens");
    assert_eq!(put("").await.0, 400);
    assert_eq!(file(), POLICY, "what is refused changes nothing");

    let new = POLICY.replace("name: m", "name: n").replace("# mine", "# yours");
    assert_eq!(judge(&new).await.1, json!({ "valid": true, "faults": [] }));
    assert_eq!(get(&world, "/v1/models").await["data"][0]["id"], "m", "judged, and not followed");
    assert_eq!(put(&new).await, (200, json!({ "written": true, "restart_needed": false })));
    assert_eq!(file(), new);
    assert_eq!(get(&world, "/v1/models").await["data"][0]["id"], "n");
    assert_eq!(get(&world, "/admin/policy").await, Value::String(new.clone()));
    let body = json!({ "model": "n", "prompt": "a", "max_tokens": 1 });
    assert_eq!(post(&world, "/v1/completions", &body).await.0, 200);
    let later = new.replace("127.0.0.1:0", "127.0.0.1:1");
    assert_eq!(put(&later).await.1["restart_needed"], true);

    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing else is left beside the model: {left:?}");
}

#[tokio::test]
async fn a_policy_without_a_file_is_replaced_until_the_server_ends() {
    let (world, _) = World::fake("").await;
    let text = get(&world, "/admin/policy").await.as_str().unwrap().to_owned();
    let new = text.replace("context_tokens: 1024", "context_tokens: 512");
    let url = format!("{}/admin/policy", world.url);
    let replaced = ask(&world.client, Method::PUT, &url, new).await;
    assert_eq!(replaced, (200, json!({ "written": false, "restart_needed": false })));
    assert_eq!(get(&world, "/v1/models").await["data"][0]["max_model_len"], 512);
}
