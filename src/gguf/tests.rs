//! Proves that sound files are understood, and that no broken or hostile one does harm.
//!
//! The demo model's files are the sound ones; the others are made here, byte by byte.

use std::io::Cursor;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// Bytes of 32 values of an F16 cache.
const F16: u64 = 64;

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model").join(name)
}

/// The demo model's smallest file, up to the end of its header, and the length of the whole file.
fn demo_header() -> (Vec<u8>, u64) {
    let mut bytes = fs::read(demo("tidepool-3m-q4_k_m.gguf")).unwrap();
    let file_bytes = bytes.len() as u64;
    bytes.truncate(1 << 16);
    (bytes, file_bytes)
}

fn read_bytes(bytes: &[u8]) -> Result<Header, GgufError> {
    read(&mut Cursor::new(bytes), bytes.len() as u64)
}

/// Reads bytes that must be refused with a message that contains `expected`.
#[track_caller]
fn refuses(bytes: &[u8], expected: &str) {
    let message = read_bytes(bytes).expect_err("the bytes should be refused").to_string();
    assert!(message.contains(expected), "{message:?} lacks {expected:?}");
}

/// Builds a GGUF file in memory.
#[derive(Clone, Default)]
struct Builder {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data_bytes: u64,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Builder {
    fn key(mut self, key: &str, value_type: u32, value: &[u8]) -> Self {
        self.keys.push([&text(key)[..], &value_type.to_le_bytes(), value].concat());
        self
    }

    fn number(self, key: &str, number: u32) -> Self {
        self.key(key, 4, &number.to_le_bytes())
    }

    fn text(self, key: &str, value: &str) -> Self {
        self.key(key, 8, &text(value))
    }

    fn array(self, key: &str, element: u32, count: u64, elements: &[u8]) -> Self {
        let value = [&element.to_le_bytes()[..], &count.to_le_bytes(), elements].concat();
        self.key(key, 9, &value)
    }

    fn tensor(mut self, name: &str, shape: &[u64], type_id: u32, offset: u64, bytes: u64) -> Self {
        let dimensions = u32::try_from(shape.len()).unwrap();
        let mut tensor = [&text(name)[..], &dimensions.to_le_bytes()].concat();
        tensor.extend(shape.iter().flat_map(|length| length.to_le_bytes()));
        tensor.extend(type_id.to_le_bytes());
        tensor.extend(offset.to_le_bytes());
        self.tensors.push(tensor);
        self.data_bytes = offset.saturating_add(bytes).min(1 << 20);
        self
    }

    fn build(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.iter().chain(&self.tensors).flatten());
        let data = bytes.len().next_multiple_of(32) + usize::try_from(self.data_bytes).unwrap();
        bytes.resize(data, 0);
        bytes
    }
}

/// The keys of a model with two layers, without tensors.
fn two_layers() -> Builder {
    Builder::default()
        .text("general.architecture", "llama")
        .number("llama.context_length", 64)
        .number("llama.embedding_length", 32)
        .number("llama.block_count", 2)
        .number("llama.attention.head_count", 4)
}

fn two_layers_with_tensor() -> Builder {
    two_layers().tensor("token_embd.weight", &[32, 8], 0, 0, 1024)
}

#[test]
fn what_quantization_makes_is_foreseen() {
    let full = read_file(&demo("tidepool-3m-f16.gguf")).unwrap();
    assert_eq!((full.file_type, full.weights.quantized_tensors), (Some(1), 0));
    let all = full.weights.any_type + full.weights.byte_types;
    // Two bytes of each weight that may change, four of each that stays.
    assert!(all * 2 < full.tensor_bytes.0 && full.tensor_bytes.0 < all * 2 + full.weights.kept_bytes);
    for (file, file_type, bits_times_100) in
        [("tidepool-3m-q8_0.gguf", 7, 850), ("tidepool-3m-q4_k_m.gguf", 15, 520)]
    {
        let made = read_file(&demo(file)).unwrap();
        assert_eq!(made.file_type, Some(file_type));
        assert!(made.weights.quantized_tensors > 0);
        let foreseen = full.quantized_bytes(bits_times_100);
        let (least, most) = (made.file_bytes, ByteCount(made.file_bytes.0 * 5 / 4));
        assert!((least..most).contains(&foreseen), "{file}: {foreseen} of {least}");
    }
}

#[test]
fn the_shapes_and_names_of_tensors_say_what_becomes_of_them() {
    let tensors = [
        ("token_embd.weight", [256, 4], 1, 2048, Weights { byte_types: 1024, ..Weights::default() }),
        ("blk.0.ffn_up.weight", [256, 4], 1, 2048, Weights { any_type: 1024, ..Weights::default() }),
        ("blk.0.ffn_up.weight", [96, 4], 1, 768, Weights { byte_types: 384, ..Weights::default() }),
        ("blk.0.ffn_up.weight", [8, 4], 0, 128, Weights { no_type: 32, ..Weights::default() }),
        ("blk.0.attn_norm.weight", [256, 4], 0, 4096, Weights { kept_bytes: 4096, ..Weights::default() }),
        ("blk.0.ffn_up.bias", [256, 4], 0, 4096, Weights { kept_bytes: 4096, ..Weights::default() }),
        (
            "blk.0.ffn_up.weight",
            [32, 4],
            8,
            136,
            Weights { byte_types: 128, quantized_tensors: 1, ..Weights::default() },
        ),
    ];
    for (name, shape, type_id, bytes, expected) in tensors {
        let header = read_bytes(&two_layers().tensor(name, &shape, type_id, 0, bytes).build()).unwrap();
        let padding = 32;
        let expected = Weights { kept_bytes: expected.kept_bytes + padding, ..expected };
        assert_eq!(header.weights, expected, "{name} {shape:?}");
    }
}

#[test]
fn the_demo_model_is_understood() {
    for (file, file_bytes, tensor_bytes) in [
        ("tidepool-3m-f16.gguf", 7_413_024, 7_349_248),
        ("tidepool-3m-q8_0.gguf", 3_972_448, 3_908_608),
        ("tidepool-3m-q4_k_m.gguf", 2_390_880, 2_327_040),
    ] {
        let header = read_file(&demo(file)).unwrap();
        assert_eq!(
            (header.file_bytes, header.tensor_bytes),
            (ByteCount(file_bytes), ByteCount(tensor_bytes))
        );
        assert_eq!((header.version, header.architecture.as_str()), (3, "llama"));
        assert_eq!(header.name.as_deref(), Some("Tidepool 3M"));
        assert!(header.chat_template.as_deref().is_some_and(|text| text.starts_with("{% for message")));
        assert_eq!((header.context_length_train, header.layers, header.embedding_length), (1024, 4, 256));
        assert_eq!((header.heads, &header.kv_heads[..]), (8, &[4, 4, 4, 4][..]));
        assert_eq!((header.key_length, header.value_length, header.vocab_tokens), (32, 32, 2048));
        assert_eq!(header.bos_token.as_deref(), Some("<|endoftext|>"));
        assert_eq!(header.eos_token.as_deref(), Some("<|im_end|>"));
        assert_eq!((header.add_bos, header.split_count, header.ties_output), (Some(false), 1, true));
        assert_eq!((header.feed_forward_length, header.experts_used), (768, 0));
    }
}

#[test]
fn the_kv_cache_grows_with_positions_layers_and_heads() {
    let header = read_file(&demo("tidepool-3m-f16.gguf")).unwrap();
    assert_eq!(header.kv_cache_bytes(1024, F16), ByteCount(1024 * 4 * 4 * (32 + 32) * 2));
    assert_eq!(
        header.kv_cache_bytes(1024, 34),
        ByteCount(1024 * 4 * 4 * 2 * 34),
        "Q8_0: 34 bytes for 32 values"
    );
    let placed = header.place_kv_cache(3, 1024, F16);
    assert_eq!(placed.host, placed.gpu, "three layers are the output and two of four");
    assert_eq!(placed.host + placed.gpu, header.kv_cache_bytes(1024, F16));
}

#[test]
fn weights_move_to_the_gpu_from_the_end() {
    let header = read_file(&demo("tidepool-3m-f16.gguf")).unwrap();
    assert_eq!(header.place_weights(0), Placed { host: header.tensor_bytes, gpu: ByteCount::ZERO });
    let all = header.place_weights(u32::MAX);
    assert_eq!(all, Placed { host: header.embedding_bytes, gpu: header.tensor_bytes });
    assert_eq!(all, header.place_weights(5));
    let two = header.place_weights(2);
    assert_eq!(two.gpu.0 - header.place_weights(1).gpu.0, header.layer_bytes[3].0);
}

#[test]
fn layers_may_differ_in_heads() {
    let heads = [0_i32, 2].iter().flat_map(|count| count.to_le_bytes()).collect::<Vec<u8>>();
    let file = two_layers_with_tensor().array("llama.attention.head_count_kv", 5, 2, &heads);
    let header = read_bytes(&file.build()).unwrap();
    assert_eq!((header.kv_heads.as_slice(), header.key_length), (&[0, 2][..], 8));
    assert_eq!(header.kv_cache_bytes(10, F16), ByteCount(10 * 2 * 16 * 2));
    refuses(
        &two_layers_with_tensor().array("llama.attention.head_count_kv", 5, 1, &heads[..4]).build(),
        "has an array of 1 numbers under key llama.attention.head_count_kv",
    );
}

#[test]
fn what_is_no_model_is_told_from_what_is_broken() {
    refuses(b"<html><body>404", "begins with \"<htm\"; download it again");
    refuses(b"version https://git-lfs.github.com/spec/v1", "git lfs pull");
    refuses(b"", "is truncated: the magic number ends at byte 4, the file has 0");
    refuses(b"GGUF\0\0\0\x03", "big-endian");
    refuses(b"GGUF\x01\0\0\0", "version 1");
    refuses(b"GGUF\x09\0\0\0", "version 9");
    refuses(&two_layers().build(), "holds no tensors");
    refuses(&Builder::default().tensor("t", &[32], 0, 0, 128).build(), "lacks key general.architecture");
    let unnamed = Builder::default().text("general.architecture", "clip").tensor("t", &[32], 0, 0, 128);
    refuses(&unnamed.build(), "lacks key clip.block_count");
}

#[test]
fn a_pipe_or_a_directory_is_never_opened() {
    let message = read_file(&std::env::temp_dir()).unwrap_err().to_string();
    assert!(message.ends_with("is not a regular file; name a .gguf file"), "{message}");
    let message = read_file(Path::new("/nowhere/x.gguf")).unwrap_err().to_string();
    assert!(message.starts_with("/nowhere/x.gguf cannot be read: "), "{message}");
}

#[test]
fn contradictory_metadata_is_refused() {
    let sound = two_layers_with_tensor;
    assert!(read_bytes(&sound().build()).is_ok());
    refuses(&sound().number("llama.block_count", 2).build(), "has key llama.block_count twice");
    refuses(&sound().text("general.alignment", "x").build(), "has text under key general.alignment");
    refuses(&sound().number("general.alignment", 24).build(), "needs a power of two");
    refuses(&sound().key("odd", 13, &[]).build(), "value type 13");
    refuses(&sound().number("general.name", 7).build(), "has 7 under key general.name, which needs text");
    refuses(&sound().array("odd", 9, 1, &[0; 12]).build(), "array of arrays");
    refuses(&sound().array("tokenizer.ggml.tokens", 4, 1, &[0; 4]).build(), "needs an array of texts");
    refuses(&sound().key("llama.vocab_size", 10, &[0xff; 8]).build(), "allows 0 to 4,294,967,295");
    let layers = two_layers().build();
    let at = layers.windows(11).position(|window| window == b"block_count").unwrap() + 15;
    for count in [0, LAYERS_MAX + 1, u32::MAX] {
        let mut bytes = layers.clone();
        bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
        refuses(&bytes, "under key llama.block_count, which allows 1 to 512");
    }
}

#[test]
fn hostile_sizes_are_refused_at_once() {
    for huge in [1 << 40, 1 << 62, u64::MAX / 8 + 1, u64::MAX - 7, u64::MAX] {
        for element in [0, 4, 8, 10] {
            refuses(&two_layers().array("odd", element, huge, &[]).build(), "is truncated");
            refuses(&two_layers().array("tokenizer.ggml.tokens", 8, huge, &[]).build(), "is truncated");
        }
        refuses(&two_layers().key("odd", 8, &huge.to_le_bytes()).build(), "is truncated");
        for field in [8, 16] {
            let mut bytes = two_layers_with_tensor().build();
            bytes[field..field + 8].copy_from_slice(&huge.to_le_bytes());
            refuses(&bytes, "is truncated");
        }
        for shape in [&[huge][..], &[32, huge], &[huge, huge, huge, huge]] {
            let message = read_bytes(&two_layers().tensor("t", shape, 0, 0, 0).build()).unwrap_err();
            assert!(matches!(message.fault, Fault::Truncated { .. } | Fault::BadShape { .. }), "{message}");
        }
        refuses(&two_layers().tensor("t", &[32], 0, huge, 0).build(), "0 is expected");
    }
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let with = |shape: &[u64], type_id| two_layers().tensor("blk.0.x", shape, type_id, 0, 0).build();
    refuses(&with(&[1; 5], 0), "5 dimensions, which needs at most 4");
    refuses(&with(&[33], 8), "rows of 33 numbers, which needs a multiple of 32");
    refuses(&with(&[32], 4), "tensor blk.0.x of ggml type 4, which is not known");
    refuses(&with(&[32], 43), "ggml type 43");
    refuses(&two_layers().tensor(&"x".repeat(64), &[32], 0, 0, 0).build(), "64, the limit is 63");
    let overlapping = two_layers_with_tensor().tensor("blk.0.x", &[32], 0, 512, 128);
    refuses(&overlapping.build(), "begins at data offset 512, 1,024 is expected");
}

#[test]
fn a_truncated_file_says_where_it_should_end() {
    let whole = two_layers_with_tensor().build();
    assert_eq!(whole.len(), 1312);
    refuses(&whole[..1311], "tensor token_embd.weight ends at byte 1,312, the file has 1,311; download");
    let (header, _) = demo_header();
    refuses(&header, "ends at byte 2,390,880, the file has 65,536; download it again");
}

#[test]
fn every_truncation_of_a_header_is_refused() {
    let bytes = two_layers_with_tensor().text("general.name", "x").build();
    for length in 0..bytes.len() {
        assert!(read_bytes(&bytes[..length]).is_err(), "{length} bytes of {} were accepted", bytes.len());
    }
    let (bytes, _) = demo_header();
    for length in (0..bytes.len()).step_by(997) {
        assert!(read_bytes(&bytes[..length]).is_err(), "{length} bytes of the demo model were accepted");
    }
}

#[test]
fn any_byte_may_be_wrong() {
    let bytes = two_layers_with_tensor().array("tokenizer.ggml.tokens", 8, 2, &[0; 16]).build();
    for index in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, bytes[index] ^ 1] {
            let mut bytes = bytes.clone();
            bytes[index] = value;
            if let Ok(header) = read_bytes(&bytes) {
                let most = InstanceSize {
                    slots: u32::MAX,
                    context_tokens: u32::MAX,
                    batch_tokens: u32::MAX,
                    kv_block_bytes: u64::MAX,
                    fused_attention: false,
                    pooled: true,
                };
                for layers in [0, 1, u32::MAX] {
                    let _ = header.place_compute(layers, &most) + header.place_instance_cache(layers, &most);
                }
                let _ = header.place_kv_cache(u32::MAX, u64::MAX, u64::MAX);
                let _ = header.place_weights(1);
            }
        }
    }
}

#[test]
fn a_split_model_counts_all_its_shards() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u32| folder.path().join(format!("m-{number:05}-of-00002.gguf"));
    let shard = |keys: Builder, number| keys.number("split.count", 2).number("split.no", number);
    let first = shard(two_layers(), 0).tensor("token_embd.weight", &[32, 8], 0, 0, 1024).build();
    let second = shard(Builder::default(), 1).tensor("blk.1.attn_q.weight", &[32, 2], 0, 0, 256).build();
    fs::write(path(1), &first).unwrap();
    let message = read_file(&path(1)).unwrap_err().to_string();
    assert!(message.contains("m-00002-of-00002.gguf cannot be read"), "{message}");

    fs::write(path(2), &second).unwrap();
    let header = read_file(&path(1)).unwrap();
    assert_eq!((header.split_count, header.tensor_bytes), (2, ByteCount(1280)));
    assert_eq!(header.file_bytes, ByteCount((first.len() + second.len()) as u64));
    assert_eq!(header.layer_bytes, [ByteCount(0), ByteCount(256)]);
    let message = read_file(&path(2)).unwrap_err().to_string();
    assert!(message.contains("is shard 2 of 2; name the first shard"), "{message}");
    assert_eq!(read_bytes(&first).unwrap().tensor_bytes, ByteCount(1024));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_anywhere_in_the_demo_model_never_panics(
        damage in prop::collection::vec((0_usize..1 << 16, any::<[u8; 8]>(), 1_usize..=8), 1..6),
    ) {
        let (mut bytes, file_bytes) = demo_header();
        for (at, value, length) in damage {
            let end = (at + length).min(bytes.len());
            bytes[at..end].copy_from_slice(&value[..end - at]);
        }
        let _ = read(&mut Cursor::new(bytes), file_bytes);
    }

    #[test]
    fn arbitrary_bytes_after_the_magic_number_never_panic(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_bytes(&[&b"GGUF\x03\0\0\0"[..], &tail].concat());
    }
}
