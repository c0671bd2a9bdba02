//! The one key that is a list or a mapping: which files serve a model. Pure.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::{RawAuto, RawVariant};

/// A list of files, or the one that others are found by.
#[derive(Debug)]
pub(in crate::policy) enum RawVariants {
    /// An element is `None` where it is null or was left out.
    Listed(Vec<Option<RawVariant>>),
    Auto(RawAuto),
}

impl<'de> Deserialize<'de> for RawVariants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VariantsVisitor)
    }
}

/// Unlike an untagged enum, it keeps the paths of faults further down.
struct VariantsVisitor;

impl<'de> Visitor<'de> for VariantsVisitor {
    type Value = RawVariants;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list (`- ` lines) or `auto: FILE`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawVariants, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(RawVariants::Listed)
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<RawVariants, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(mapping)).map(RawVariants::Auto)
    }
}
