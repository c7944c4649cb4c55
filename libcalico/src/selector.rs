//! The label selector language (`reference/datamodel.md` section 11).
//!
//! [`Selector::parse`] reads a selector, [`Selector::matches`] applies it to labels, and its
//! `Display` is the canonical text, from which [`Selector::unique_id`] is made.

mod expression;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha224};

use expression::Expression;

/// A selector that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Expression);

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read selector {selector:?}: found {found} at byte {position} where {expected} should be"
)]
pub struct SelectorError {
    /// The selector, shortened.
    pub selector: String,
    /// Where it goes wrong, counted in bytes from 0.
    pub position: usize,
    /// What stands there.
    pub found: String,
    /// What should stand there.
    pub expected: &'static str,
}

impl Selector {
    /// Reads a selector. An empty or blank text selects everything.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        parser::parse(text).map(Selector)
    }

    /// Whether something with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }

    /// The terms that keep these labels from being selected: those of the outermost `&&` that
    /// don't hold, or the whole selector. None when it selects them.
    pub fn unmet(&self, labels: &BTreeMap<String, String>) -> Vec<String> {
        let terms = match &self.0 {
            Expression::And(all) => all.as_slice(),
            one => std::slice::from_ref(one),
        };
        terms.iter().filter(|term| !term.matches(labels)).map(ToString::to_string).collect()
    }

    /// The identity of the canonical text, as it appears in Felix's sets.
    pub fn unique_id(&self) -> String {
        let digest = Sha224::digest(format!("s:{self}").as_bytes());
        format!("s:{}", URL_SAFE_NO_PAD.encode(digest))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
