use modelpool::engine::llama::LlamaLoader;
use modelpool::engine::*;
use modelpool::generation::*;
use modelpool::units::DeviceId;
struct Sink(std::sync::Arc<std::sync::atomic::AtomicU64>);
impl EventSink for Sink {
    fn emit(&mut self, _e: Event) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    fn wanted(&self) -> bool {
        true
    }
    fn lost(self: Box<Self>, l: Loss) {
        panic!("{l:?}")
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let threads: u32 = a[2].parse().unwrap();
    let w = LlamaLoader
        .load(&WeightsSpec { path: a[1].clone().into(), device: DeviceId::Host, gpu_layers: None })
        .unwrap();
    for n in [1u32, 2, 4, 8, 16] {
        let mut c = w
            .context(ContextSpec {
                flash_attention: if std::env::var("FA").is_ok() {
                    modelpool::policy::FlashAttention::Off
                } else {
                    modelpool::policy::FlashAttention::Auto
                },
                ..ContextSpec::sized(16, 1024, threads)
            })
            .unwrap();
        let mut pos = 0;
        let mut go = |c: &mut llama::LlamaInstance<'_>, k: usize| {
            let t = std::time::Instant::now();
            for _ in 0..k {
                let b: Vec<_> = (0..n)
                    .map(|slot| BatchToken { token: 5, position: pos, slot, wants_logits: true })
                    .collect();
                c.decode(&b).unwrap();
                let _ = c.logits(n as usize - 1)[0];
                pos += 1;
            }
            t.elapsed().as_secs_f64() / k as f64
        };
        go(&mut c, 20);
        let s = go(&mut c, 200);
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let mut e = InlineEngine::new(
            &w,
            ContextSpec {
                flash_attention: if std::env::var("FA").is_ok() {
                    modelpool::policy::FlashAttention::Off
                } else {
                    modelpool::policy::FlashAttention::Auto
                },
                ..ContextSpec::sized(16, 1024, threads)
            },
        )
        .unwrap();
        for i in 0..n {
            let r = GenerationRequest {
                ignore_eos: true,
                max_tokens: Some(300),
                sampling: SamplingSettings {
                    temperature: std::env::var("T").unwrap().parse().unwrap(),
                    top_k: 40,
                    top_p: 0.95,
                    seed: i.into(),
                    ..Default::default()
                },
                ..GenerationRequest::new(Prompt::Tokens(vec![i + 5, 7, 9]))
            };
            e.admit(r.into(), Box::new(Sink(count.clone())));
        }
        for _ in 0..50 {
            e.step().unwrap();
        }
        let t = std::time::Instant::now();
        for _ in 0..200 {
            e.step().unwrap();
        }
        let s2 = t.elapsed().as_secs_f64() / 200.0;
        println!(
            "threads {threads} n {n}: raw {:.3} ms, {:.0} tok/s; engine {:.3} ms {:.0} tok/s",
            s * 1e3,
            f64::from(n) / s,
            s2 * 1e3,
            f64::from(n) / s2
        );
    }
}
