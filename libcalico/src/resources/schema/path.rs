//! Where a value stands in its document, as messages name it: `spec.ingress[0].source.nets[1]`.

use std::fmt::{self, Write};

/// The way from the document to a value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path(String);

/// The length of the way before a step, to go back to.
#[derive(Debug)]
pub(crate) struct Outer(usize);

impl Path {
    /// A way that begins so.
    pub fn new(start: &str) -> Path {
        Path(start.to_owned())
    }

    /// Steps into a field.
    pub fn enter(&mut self, field: &str) -> Outer {
        let outer = Outer(self.0.len());
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(field);
        outer
    }

    /// Steps into an entry of a list.
    pub fn enter_entry(&mut self, at: usize) -> Outer {
        let outer = Outer(self.0.len());
        // Writing to a String can't fail.
        let _ = write!(self.0, "[{at}]");
        outer
    }

    /// Steps back.
    pub fn leave(&mut self, outer: Outer) {
        self.0.truncate(outer.0);
    }

    /// The way to a field of the value.
    pub fn to(&self, field: &str) -> String {
        match self.0.as_str() {
            "" => field.to_owned(),
            path => format!("{path}.{field}"),
        }
    }

    /// Whether it leads to a field of the spec itself.
    pub fn is_short(&self) -> bool {
        self.0.matches(['.', '[']).count() < 2
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
