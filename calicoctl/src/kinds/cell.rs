//! What stands in a cell of a table (`reference/calicoctl.md` section 5.3).

use libcalico::resources::AnyResource;
use serde_json::Value;

use crate::output::number::go_float;

/// The most characters of a list in a cell.
const LIST_LIMIT: usize = 80;

/// How a cell is made of an object. The pointers are into its `spec`.
#[derive(Clone, Copy)]
pub enum Cell {
    /// `metadata.name`.
    Name,
    /// `metadata.namespace`.
    Namespace,
    /// A text; what isn't there is empty.
    Text(&'static str),
    /// Any scalar, or `-` where it isn't there.
    OrDash(&'static str),
    /// A boolean that is false where it isn't there.
    Bool(&'static str),
    /// A whole number that is 0 where it isn't there.
    Number(&'static str),
    /// The elements of a list of texts, with commas between and cut when they get long.
    List(&'static str),
    /// How many elements a list has.
    Count(&'static str),
    /// `spec.order`.
    Order,
    /// Something of its own.
    Own(fn(&AnyResource, &Facts) -> String),
}

/// What cells show that is in no object of the table.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The AS number of nodes that have none of their own.
    pub as_number: u32,
}

impl Default for Facts {
    fn default() -> Facts {
        Facts { as_number: 64512 }
    }
}

impl Cell {
    /// The text of the cell.
    pub fn of(self, object: &AnyResource, facts: &Facts) -> String {
        let at = |pointer| object.spec.pointer(pointer).filter(|value| !value.is_null());
        match self {
            Cell::Name => object.metadata.name.clone(),
            Cell::Namespace => object.metadata.namespace.clone(),
            Cell::Text(pointer) => at(pointer).map(scalar).unwrap_or_default(),
            Cell::OrDash(pointer) => at(pointer).map_or_else(|| "-".to_owned(), scalar),
            Cell::Bool(pointer) => at(pointer).map_or_else(|| "false".to_owned(), scalar),
            Cell::Number(pointer) => at(pointer).map_or_else(|| "0".to_owned(), scalar),
            Cell::List(pointer) => join(at(pointer), scalar),
            Cell::Count(pointer) => {
                at(pointer).and_then(Value::as_array).map_or(0, Vec::len).to_string()
            }
            Cell::Order => match at("/order").and_then(Value::as_f64) {
                Some(order) => go_float(order),
                // COMPAT: Go's way to say that there is none.
                None => "<nil>".to_owned(),
            },
            Cell::Own(make) => make(object, facts),
        }
    }
}

/// A scalar as text.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The elements of a list with commas between, cut when they get long.
pub(super) fn join(list: Option<&Value>, text: impl Fn(&Value) -> String) -> String {
    let items: Vec<String> =
        list.and_then(Value::as_array).into_iter().flatten().map(text).collect();
    cut(&items.join(","), LIST_LIMIT)
}

/// A text of at most `limit` characters: of a longer one the beginning, and dots.
pub fn cut(text: &str, limit: usize) -> String {
    match text.chars().count() > limit {
        true => text.chars().take(limit.saturating_sub(3)).chain("...".chars()).collect(),
        false => text.to_owned(),
    }
}
