//! Which files serve a model: a list of them, or the one that others are found by. Pure.

use std::collections::HashMap;
use std::path::Path;

use crate::policy::error::Faults;
use crate::policy::path::YamlPath;
use crate::policy::raw::{Given, RawVariant, RawVariants};
use crate::policy::section::Section;
use crate::policy::types::{ModelFile, VariantPolicy, Variants};

/// Most variants of one model: more than there are quantizations worth keeping.
const MAX_VARIANTS: usize = 16;

pub(super) fn variants(
    raw: Option<RawVariants>,
    at: &YamlPath,
    base_dir: &Path,
    faults: &mut Faults,
) -> Option<Variants> {
    match raw {
        Some(RawVariants::Listed(list)) if !list.is_empty() => {
            listed(list, at, base_dir, faults).map(Variants::Listed)
        }
        Some(RawVariants::Auto(raw)) => {
            let mut section = Section::new(at.clone(), faults);
            file("auto", raw.auto.as_ref(), base_dir, &mut section).map(Variants::Auto)
        }
        _ => {
            faults.add_missing(at.clone(), "list at least one file, such as `- path: model.gguf`");
            None
        }
    }
}

fn listed(
    raw: Vec<Option<RawVariant>>,
    at: &YamlPath,
    base_dir: &Path,
    faults: &mut Faults,
) -> Option<Vec<VariantPolicy>> {
    if raw.len() > MAX_VARIANTS {
        let message =
            format!("{} variants are more than {MAX_VARIANTS}; keep those that are needed", raw.len());
        faults.add(at.clone(), message);
    }
    let mut first_uses = HashMap::new();
    let mut variants = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let at = at.index(index);
        let Some(raw) = raw else {
            faults.add_missing(at, "give `path`, or remove this element");
            continue;
        };
        let mut section = Section::new(at, faults);
        let variant = file("path", raw.path.as_ref(), base_dir, &mut section);
        if let Some(VariantPolicy { name, .. }) = &variant {
            let first = *first_uses.entry(name.clone()).or_insert(index);
            if first != index {
                let message =
                    format!("variants[{first}] is called {name:?} too; rename or remove one of the files");
                section.note::<()>("path", message);
            }
        }
        variants.push(variant);
    }
    variants.into_iter().collect()
}

/// The file that `key` names.
fn file(
    key: &str,
    given: Option<&Given>,
    base_dir: &Path,
    section: &mut Section<'_>,
) -> Option<VariantPolicy> {
    let what = "the path of a GGUF file, or embedded:NAME";
    let path = section.text(key, given, what)?;
    let (file_name, file) = match path.strip_prefix("embedded:") {
        Some(name) => (name, ModelFile::Embedded(name.to_owned())),
        None => (path, ModelFile::Path(base_dir.join(path))),
    };
    match Path::new(file_name).file_stem() {
        Some(stem) => Some(VariantPolicy { name: stem.to_string_lossy().into_owned(), file }),
        None => section.refuse(key, what, given?),
    }
}
