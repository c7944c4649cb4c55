//! The `projectcalico.org/v3` kinds (`reference/datamodel.md` sections 3 and 7), a file each.

pub mod kind;

pub use kind::Kind;
