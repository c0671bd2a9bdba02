//! Proves that 500 clients of three keys with weights 1, 2 and 4, who all always want something of a saturated model, get
//! shares within 10 % of the weights, and that nobody of them waits much longer than their share means. The engine is the
//! fake one; the whole way over HTTP is real.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::World;
use common::keys::{KeysFile, post_as};
use serde_json::json;

const CLIENTS: usize = 500;
/// Answers that are not counted: the first of all.
const WARM_UP: u64 = 1000;
/// Answers that are counted.
const COUNTED: u64 = 3500;
const KEYS: [(&str, u32); 3] = [("one", 1), ("two", 2), ("four", 4)];

/// What the clients of a key got.
#[derive(Default)]
struct Got {
    answers: AtomicU64,
    waits: Mutex<Vec<Duration>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_get_what_their_keys_weigh() {
    let entries = KEYS.map(|(name, weight)| (name, format!(", weight: {weight}")));
    let entries: Vec<_> = entries.iter().map(|(name, rest)| (*name, rest.as_str())).collect();
    let file = KeysFile::new(&entries);
    let (world, controls) = World::fake_with("  slots: 8\n  scale: { max_instances: 1 }", |policy| {
        policy.server.api_keys_file = Some(file.path.clone());
    })
    .await;
    controls.decode_micros.store(1000, Ordering::Relaxed);
    let url: Arc<str> = format!("{}/v1/completions", world.url).into();
    let body = Arc::new(json!({ "model": world.model, "prompt": "hi", "temperature": 0, "max_tokens": 5 }));
    let (total, got) = (Arc::new(AtomicU64::new(0)), Arc::new(KEYS.map(|_| Got::default())));
    let begun = Arc::new(Mutex::new(None));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let key = number % KEYS.len();
            let (client, url, body) = (world.client.clone(), Arc::clone(&url), Arc::clone(&body));
            let (total, got, begun) = (Arc::clone(&total), Arc::clone(&got), Arc::clone(&begun));
            tokio::spawn(async move {
                loop {
                    let asked = Instant::now();
                    let answer = post_as(&client, &url, KEYS[key].0, &body).await;
                    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
                    let served = total.fetch_add(1, Ordering::Relaxed);
                    if served == WARM_UP {
                        *begun.lock().unwrap() = Some(Instant::now());
                    }
                    if served >= WARM_UP + COUNTED {
                        return;
                    }
                    if served >= WARM_UP {
                        got[key].answers.fetch_add(1, Ordering::Relaxed);
                        got[key].waits.lock().unwrap().push(asked.elapsed());
                    }
                }
            })
        })
        .collect();
    // The first that sees the end ends the measurement; the others only finish what they wait for.
    while total.load(Ordering::Relaxed) < WARM_UP + COUNTED {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.lock().unwrap().expect("it began").elapsed();
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    let weights: u32 = KEYS.iter().map(|(_, weight)| weight).sum();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let rate = COUNTED as f64 / took.as_secs_f64();
    for ((name, weight), got) in KEYS.iter().zip(got.iter()) {
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let share = got.answers.load(Ordering::Relaxed) as f64 / COUNTED as f64;
        let deserved = f64::from(*weight) / f64::from(weights);
        let mut waits = got.waits.lock().unwrap().clone();
        waits.sort_unstable();
        let p99 = waits[waits.len() * 99 / 100].as_secs_f64();
        // Little's law: as many clients as wait, at the rate that is theirs.
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let fair = CLIENTS as f64 / 3.0 / (rate * deserved);
        println!("{name}: share {share:.3} of {deserved:.3}, p99 {p99:.2} s where {fair:.2} s are fair");
        assert!((share / deserved - 1.0).abs() < 0.1, "{name}: {share} of {deserved}");
        assert!(p99 < 2.0 * fair, "{name}: waited {p99} s, {fair} s are fair");
    }
}
