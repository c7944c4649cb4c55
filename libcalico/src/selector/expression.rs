//! A selector as a tree: what it matches and how it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A node of the tree. Its depth is bounded by the parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// `all()`.
    All,
    /// `global()`.
    Global,
    /// `has(label)`.
    Has(String),
    /// A label compared with a value.
    Compare(String, Comparison, String),
    /// A label in a set of values, or not in it.
    Member { label: String, negated: bool, values: BTreeSet<String> },
    /// `!x`.
    Not(Box<Expression>),
    /// `x && y && …`: two or more.
    And(Vec<Expression>),
    /// `x || y || …`: two or more.
    Or(Vec<Expression>),
}

/// How a label is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
}

impl Expression {
    /// Whether something with these labels is selected.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Expression::All | Expression::Global => true,
            Expression::Has(label) => labels.contains_key(label),
            Expression::Compare(label, comparison, value) => {
                comparison.holds(labels.get(label), value)
            }
            Expression::Member { label, negated, values } => {
                labels.get(label).is_some_and(|value| values.contains(value)) != *negated
            }
            Expression::Not(inner) => !inner.matches(labels),
            Expression::And(all) => all.iter().all(|inner| inner.matches(labels)),
            Expression::Or(any) => any.iter().any(|inner| inner.matches(labels)),
        }
    }
}

impl Comparison {
    fn holds(self, label: Option<&String>, value: &str) -> bool {
        match (self, label) {
            (Comparison::NotEqual, None) => true,
            (_, None) => false,
            (Comparison::Equal, Some(label)) => label == value,
            (Comparison::NotEqual, Some(label)) => label != value,
            (Comparison::Contains, Some(label)) => label.contains(value),
            (Comparison::StartsWith, Some(label)) => label.starts_with(value),
            (Comparison::EndsWith, Some(label)) => label.ends_with(value),
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Contains => "contains",
            Comparison::StartsWith => "starts with",
            Comparison::EndsWith => "ends with",
        }
    }
}

/// The canonical text.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::All => f.write_str("all()"),
            Expression::Global => f.write_str("global()"),
            Expression::Has(label) => write!(f, "has({label})"),
            Expression::Compare(label, comparison, value) => {
                write!(f, "{label} {} {}", comparison.symbol(), Quoted(value))
            }
            Expression::Member { label, negated, values } => {
                write!(f, "{label} {}in {{", if *negated { "not " } else { "" })?;
                for (at, value) in values.iter().enumerate() {
                    let separator = if at == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", Quoted(value))?;
                }
                f.write_str("}")
            }
            Expression::Not(inner) => write!(f, "!{inner}"),
            Expression::And(all) => write_list(f, all, " && "),
            Expression::Or(any) => write_list(f, any, " || "),
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, list: &[Expression], separator: &str) -> fmt::Result {
    for (at, inner) in list.iter().enumerate() {
        write!(f, "{}{inner}", if at == 0 { "(" } else { separator })?;
    }
    f.write_str(")")
}

/// A string in the quotes that it doesn't contain.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}
