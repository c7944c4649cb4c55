//! The kinds that `calicoctl` works with: how a person may call them, and what a table shows of
//! them (`reference/calicoctl.md` section 5.3).

mod cell;
mod table;

use libcalico::resources::Kind;

pub use cell::{Cell, Facts, cut};
use table::KINDS;

/// What `calicoctl` knows of a kind.
pub struct KindInfo {
    /// The kind.
    pub kind: Kind,
    /// The names that a person may call it by, in lower case.
    aliases: &'static [&'static str],
    /// The headings of a table.
    pub narrow: &'static [&'static str],
    /// The headings of a wide table.
    pub wide: &'static [&'static str],
    /// Every column, in the order in which a message lists them.
    pub columns: &'static [Column],
}

/// A heading, and what stands below it.
pub type Column = (&'static str, Cell);

/// Kinds that can't be what was meant.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// No kind of that name.
    #[error("resource type '{name}' is not supported{}", did_you_mean(.suggestion.as_deref()))]
    Unknown {
        /// As it was written.
        name: String,
        /// A name that is nearly the same.
        suggestion: Option<String>,
    },
}

impl KindInfo {
    /// The kind that a person calls so, in any case.
    pub fn named(name: &str) -> Result<&'static KindInfo, KindError> {
        let lower = name.to_lowercase();
        KINDS.iter().find(|info| info.aliases.contains(&lower.as_str())).ok_or_else(|| {
            let aliases = KINDS.iter().flat_map(|info| info.aliases);
            let suggestion = nearest(&lower, aliases.copied()).map(str::to_owned);
            KindError::Unknown { name: name.to_owned(), suggestion }
        })
    }

    /// All that kinds may be called.
    pub fn every_alias() -> impl Iterator<Item = &'static str> {
        KINDS.iter().flat_map(|info| info.aliases).copied()
    }

    /// What there is to know of a kind; nothing for those that are IPAM's own.
    pub fn of(kind: Kind) -> Option<&'static KindInfo> {
        KINDS.iter().find(|info| info.kind == kind)
    }

    /// The column with this heading.
    pub fn column(&self, heading: &str) -> Option<&'static Column> {
        self.columns.iter().find(|(name, _)| *name == heading)
    }
}

/// The ending of a message that knows what may have been meant.
pub fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!(": did you mean \"{name}\"?")).unwrap_or_default()
}

/// The candidate that is nearest to a word, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| strsim::osa_distance(word, candidate);
    let best = candidates.min_by_key(near)?;
    (near(&best) <= (word.chars().count() / 3).clamp(1, 3)).then_some(best)
}

#[cfg(test)]
mod tests;
