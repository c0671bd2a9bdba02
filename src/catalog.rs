//! What is known of each model before it is loaded: its files, their sizes, its chat template.
//!
//! Reads the headers of all GGUF files once, at the start, so that a missing or broken file is one clear error
//! there and not a failed request later.

mod facts;
mod footprint;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::chat::{ChatError, ChatTemplate, TemplateSource};
use crate::gguf::{self, GgufError, Header};
use crate::policy::{ModelFile, ModelPolicy, VariantPolicy, Variants};
use crate::quantization;
use crate::units::{ByteCount, DeviceSet, ModelName};
pub use facts::Facts;
pub use footprint::Footprint;

/// Which file stood at a path when it was read: another one there later is another model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    bytes: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl FileIdentity {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(path).ok()?;
        Some(Self { bytes: found.len(), modified: found.modified().ok(), inode: found.ino() })
    }
}

/// One variant and what it will take.
#[derive(Clone, Debug)]
pub struct CatalogVariant {
    /// Its name, from the file's.
    pub name: Arc<str>,
    /// Where the file is.
    pub path: PathBuf,
    /// Which file it is; of a split model, the first.
    pub identity: Option<FileIdentity>,
    /// Bytes of all its weights, wherever they lie.
    pub weights_bytes: ByteCount,
    /// What it will take on a host without a GPU.
    pub on_host: Footprint,
    /// What it will take on a GPU, and on the host besides.
    pub on_gpu: Footprint,
}

impl CatalogVariant {
    /// What it will take when these devices compute.
    #[must_use]
    pub fn footprint(&self, devices: impl Into<DeviceSet>) -> &Footprint {
        if devices.into() == DeviceSet::HOST { &self.on_host } else { &self.on_gpu }
    }
}

/// One model.
#[derive(Clone, Debug)]
pub struct CatalogModel {
    /// What the policy says.
    pub policy: Arc<ModelPolicy>,
    /// Its variants, best first, as in the policy.
    pub variants: Vec<CatalogVariant>,
    /// Turns a conversation into a prompt.
    pub chat: ChatTemplate,
    /// What its best variant's file says about it.
    pub facts: Arc<Facts>,
}

impl CatalogModel {
    /// Whether instances made for `other` are what this one wants.
    #[must_use]
    pub fn makes_the_same(&self, other: &Self) -> bool {
        let (own, others) = (&self.policy, &other.policy);
        let size = |policy: &ModelPolicy| (policy.context_tokens, policy.slots, policy.isolation);
        size(own) == size(others) && own.engine == others.engine && self.files() == other.files()
    }

    /// A number that tells the files of this model from any others: what one began, another one cannot go on with.
    #[must_use]
    pub fn files(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for variant in &self.variants {
            variant.path.hash(&mut hasher);
            variant.identity.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// A model of the policy that cannot be served, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenModel {
    /// Its name.
    pub name: ModelName,
    /// What is wrong.
    pub reason: String,
}

/// All models, in the policy's order.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Those that can be served.
    pub models: Vec<Arc<CatalogModel>>,
    /// Those that cannot.
    pub broken: Vec<BrokenModel>,
}

/// Why a model of the policy cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file is missing, broken or not a model.
    #[error("models.{model}: {fault}")]
    File {
        /// The model.
        model: ModelName,
        /// What is wrong with the file.
        fault: GgufError,
    },
    /// So is the full file that stands for all, or one that was found beside it.
    #[error("models.{model}.variants.auto: {fault}")]
    Found {
        /// The model.
        model: ModelName,
        /// What is wrong with the file.
        fault: GgufError,
    },
    /// A slot cannot hold what the policy wants.
    #[error(
        "models.{model}: context_tokens ({wanted}) exceeds the {trained} positions that {variant} was trained for; \
         set context_tokens to {trained} or less"
    )]
    ContextTooLong {
        /// The model.
        model: ModelName,
        /// The variant.
        variant: String,
        /// `context_tokens`.
        wanted: u32,
        /// What the file says.
        trained: u32,
    },
    /// The file's chat template cannot be read.
    #[error("models.{model}: {fault}")]
    Chat {
        /// The model.
        model: ModelName,
        /// What is wrong with the template.
        fault: ChatError,
    },
}

impl Catalog {
    /// Reads the headers of all files. `unpacked` is where the files carried in the program are. One model that
    /// cannot be served keeps no other from being served.
    #[must_use]
    pub fn read(models: &[Arc<ModelPolicy>], unpacked: &Path) -> Self {
        let mut catalog = Self::default();
        for policy in models {
            match read_model(policy, unpacked) {
                Ok(model) => catalog.models.push(Arc::new(model)),
                Err(error) => {
                    let (name, reason) = (policy.name.clone(), error.to_string());
                    catalog.broken.push(BrokenModel { name, reason });
                }
            }
        }
        catalog
    }

    /// Why a model of the policy cannot be served; `None` if it can, or is none.
    #[must_use]
    pub fn fault(&self, name: &str) -> Option<&BrokenModel> {
        self.broken.iter().find(|model| model.name.as_str() == name)
    }

    /// The model that clients call `name`.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Arc<CatalogModel>> {
        self.models.iter().find(|model| model.policy.name.as_str() == name)
    }

    /// The policies, in order.
    #[must_use]
    pub fn policies(&self) -> Vec<Arc<ModelPolicy>> {
        self.models.iter().map(|model| Arc::clone(&model.policy)).collect()
    }
}

fn read_model(policy: &Arc<ModelPolicy>, unpacked: &Path) -> Result<CatalogModel, CatalogError> {
    let model = || policy.name.clone();
    let file_error = |fault| match policy.variants {
        Variants::Listed(_) => CatalogError::File { model: model(), fault },
        Variants::Auto(_) => CatalogError::Found { model: model(), fault },
    };
    let mut variants = Vec::new();
    let mut first = None;
    for (name, path) in files(&policy.variants, unpacked) {
        let header = gguf::read_file(&path).map_err(file_error)?;
        let trained = header.context_length_train;
        if policy.context_tokens > trained {
            let (variant, wanted) = (name, policy.context_tokens);
            return Err(CatalogError::ContextTooLong { model: model(), variant, wanted, trained });
        }
        let identity = FileIdentity::of(&path);
        if first.is_none() {
            // All variants are one model: the best one's template stands for all.
            let template = chat_template(&header);
            let template = template.map_err(|fault| CatalogError::Chat { model: model(), fault })?;
            let modified = identity.as_ref().and_then(|identity| identity.modified);
            first = Some((template, Arc::new(Facts::of(&header, modified))));
        }
        variants.push(CatalogVariant {
            name: name.into(),
            identity,
            path,
            weights_bytes: header.tensor_bytes,
            on_host: Footprint::on_host(&header, policy),
            on_gpu: Footprint::on_gpu(&header, policy),
        });
    }
    let (chat, facts) = first.expect("a validated policy has a variant for each model");
    Ok(CatalogModel { policy: Arc::clone(policy), variants, chat, facts })
}

/// The names and places of a model's variants, best first. A file that is found beside the full one, and not named, need
/// not be there; if it is there, it has to be sound like any other.
fn files(variants: &Variants, unpacked: &Path) -> Vec<(String, PathBuf)> {
    let place = |variant: &VariantPolicy| {
        let path = match &variant.file {
            ModelFile::Embedded(file) => unpacked.join(file),
            ModelFile::Path(path) => path.clone(),
        };
        (variant.name.clone(), path)
    };
    match variants {
        Variants::Listed(listed) => listed.iter().map(place).collect(),
        Variants::Auto(full) => {
            let full = place(full);
            let mut found = quantization::variants_beside(&full.1);
            found.retain(|path| path.is_file());
            let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            std::iter::once(full).chain(found.into_iter().map(|path| (name(&path), path))).collect()
        }
    }
}

fn chat_template(header: &Header) -> Result<ChatTemplate, ChatError> {
    let text = |token: &Option<String>| token.clone().unwrap_or_default();
    ChatTemplate::new(TemplateSource {
        usual: header.chat_template.as_deref(),
        tool_use: header.tool_template.as_deref(),
        bos_token: &text(&header.bos_token),
        eos_token: &text(&header.eos_token),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::units::DeviceId;
    use crate::view::Takes;

    /// The demo model with these other keys.
    fn model(rest: &str) -> Arc<CatalogModel> {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
        let text = format!(
            "models:\n- name: m\n  context_tokens: 1024\n  variants: [{{path: tidepool-3m-f16.gguf}}]\n{rest}\n"
        );
        let policy = Policy::parse(&text, "p", &files).unwrap_or_else(|error| panic!("{error}"));
        let mut catalog = Catalog::read(&policy.models, &files);
        assert_eq!(catalog.broken, []);
        catalog.models.remove(0)
    }

    #[test]
    fn what_shapes_instances_makes_others() {
        for (rest, same) in [
            ("  engine: {batch_tokens: 512}", true),
            ("  sampling: {top_k: 7}", true),
            ("  engine: {batch_tokens: 256}", false),
            ("  engine: {prefix_cache: {enabled: false}}", false),
            ("  slots: 4", false),
        ] {
            assert_eq!(model(rest).makes_the_same(&model("")), same, "{rest}");
        }
    }

    #[test]
    fn variants_are_found_beside_the_full_file_whenever_files_are_read() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model");
        let folder = tempfile::tempdir().unwrap();
        let copy = |from: &str, to: &str| std::fs::copy(demo.join(from), folder.path().join(to)).unwrap();
        let text = "models:\n- name: m\n  context_tokens: 1024\n  variants: {auto: a-F16.gguf}\n";
        let read = || {
            let policy = Policy::parse(text, "p", folder.path()).unwrap_or_else(|error| panic!("{error}"));
            Catalog::read(&policy.models, folder.path())
        };
        let missing = &read().broken[0].reason;
        assert!(
            missing.starts_with("models.m.variants.auto: ") && missing.contains("a-F16.gguf"),
            "{missing}"
        );
        copy("tidepool-3m-f16.gguf", "a-F16.gguf");
        let alone = read();
        let names = |catalog: &Catalog| -> Vec<String> {
            catalog.models[0].variants.iter().map(|variant| variant.name.to_string()).collect()
        };
        assert_eq!(names(&alone), ["a-F16"]);
        copy("tidepool-3m-q4_k_m.gguf", "a-q4_k_m.gguf");
        copy("tidepool-3m-q8_0.gguf", "a-q8_0.gguf");
        copy("tidepool-3m-q8_0.gguf", "b-q8_0.gguf");
        copy("tidepool-3m-q8_0.gguf", ".a-q6_k.gguf.part");
        std::fs::create_dir(folder.path().join("a-q2_k.gguf")).unwrap();
        let three = read();
        assert_eq!(names(&three), ["a-F16", "a-q8_0", "a-q4_k_m"]);
        assert!(!three.models[0].makes_the_same(&alone.models[0]), "a reload follows");
        std::fs::write(folder.path().join("a-q4_0.gguf"), "no model").unwrap();
        let broken = &read().broken[0].reason;
        assert!(broken.starts_with("models.m.variants.auto: ") && broken.contains("a-q4_0.gguf"), "{broken}");
    }

    #[test]
    fn an_estimate_follows_what_the_engine_section_says() {
        let bytes = |rest: &str| model(rest).variants[0].on_host.instance().host.0;
        let (f16, q8) = (bytes(""), bytes("  engine: {kv_cache_type: q8_0}"));
        // 8 slots of 1,024 positions in 4 layers of 4 heads with 64 values each, 64 or 34 bytes for 32 of them.
        assert_eq!(f16 - q8, 8 * 1024 * 4 * 4 * 2 * (64 - 34));
        assert!(bytes("  engine: {batch_tokens: 1024}") > f16);
        assert!(bytes("  engine: {batch_tokens: 64}") < f16);
    }

    #[test]
    fn on_a_gpu_a_worker_takes_weights_and_what_its_process_takes() {
        let model = model("");
        let variant = &model.variants[0];
        let (host, gpu) = (variant.on_host, variant.on_gpu);
        let mib = |count| ByteCount::from_mib(count);
        assert_eq!(host.takes(DeviceId::Host).worker, variant.weights_bytes);
        assert_eq!(host.takes(DeviceId::Gpu(0)), Takes::default());
        // The token embedding is the output, too: the GPU has a copy, and so everything.
        assert_eq!(gpu.takes(DeviceId::Gpu(0)).worker, variant.weights_bytes + mib(527));
        // 2,048 tokens of 256 values in two bytes.
        assert_eq!(gpu.worker.host, mib(1));
        assert_eq!((gpu.kv_cache.gpu, gpu.kv_cache.host), (host.kv_cache.host, ByteCount::ZERO));
        assert_eq!(gpu.takes(DeviceId::Gpu(0)).instance, gpu.kv_cache.gpu + gpu.compute.gpu);
        assert_eq!(variant.footprint(DeviceId::Gpu(3)), &gpu);
    }

    #[test]
    fn layers_that_the_policy_leaves_on_the_host_are_counted_there() {
        let half = model("  engine: {gpu_layers: 3}").variants[0].on_gpu;
        assert_eq!(half.kv_cache.host, half.kv_cache.gpu, "the output and two of four layers");
        assert!(half.worker.gpu < model("").variants[0].on_gpu.worker.gpu);
    }
}
