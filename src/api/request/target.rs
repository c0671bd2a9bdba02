//! Which model is meant where clients need not say: llama-server's paths, which know one model.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{ApiError, find_model};
use crate::catalog::{Catalog, CatalogModel};

/// The model that a query such as `model=NAME` names, if it names one.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    query: &'a str,
}

impl<'a> Target<'a> {
    /// What the query of a path says.
    #[must_use]
    pub const fn of(query: &'a str) -> Self {
        Self { query }
    }

    /// The model that the body names, or the query; or else the first of the policy.
    ///
    /// # Errors
    ///
    /// [`ApiError`] if there is no such model, or it cannot be served.
    pub fn find<'catalog>(
        self,
        object: &Map<String, Value>,
        catalog: &'catalog Catalog,
    ) -> Result<&'catalog CatalogModel, ApiError> {
        match object.get("model") {
            None | Some(Value::Null) => self.find_in_query(catalog),
            Some(Value::String(name)) => find_model(name, catalog),
            Some(_) => Err(ApiError::invalid("model", "model: expected a string")),
        }
    }

    /// As [`Target::find`], for paths without a body.
    ///
    /// # Errors
    ///
    /// As [`Target::find`].
    pub fn find_in_query(self, catalog: &Catalog) -> Result<&CatalogModel, ApiError> {
        match (self.parameter("model"), catalog.models.first()) {
            (None, Some(first)) => Ok(first),
            (named, _) => find_model(&named.unwrap_or_default(), catalog),
        }
    }

    /// The value of a parameter of the query.
    #[must_use]
    pub fn parameter(self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: Option<&str>) {
        assert_eq!(Target::of(query).parameter("model").as_deref(), expected, "{query}");
    }

    #[test]
    fn a_query_names_a_model() {
        check("", None);
        check("limit=3", None);
        check("limit=3&model=a", Some("a"));
        check("model=org%2Fa+b", Some("org/a b"));
        check("model", Some(""));
        check("models=a", None);
    }
}
