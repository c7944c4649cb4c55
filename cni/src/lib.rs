//! The Container Network Interface (CNI) specification 1.1.0 as types, and the process contract of
//! a plugin around them. Nothing of Calico lives here, and nothing asynchronous.
//!
//! A plugin implements [`Plugin`] and hands itself to [`run`], which reads the environment and
//! standard input, validates both, calls the verb, and prints one JSON document. A plugin that
//! needs another one (an IPAM plugin) calls it through [`delegate::Delegate`].
//!
//! Facts: `cni-plugin.md` sections 0, 1.3, 3.9 and 5.5 to 5.7.

mod args;
mod attachment;
mod command;
mod config;
pub mod delegate;
mod dispatch;
mod environment;
mod error;
#[cfg(test)]
mod golden;
mod json;
mod output;
mod result;
mod version;

pub use args::{Args, ArgsError};
pub use attachment::Attachment;
pub use command::Command;
pub use config::NetworkConfig;
pub use dispatch::{Plugin, Request, run, run_self_test};
pub use error::{Error, code};
pub use json::{member, members_mut, read_member};
pub use result::{AddResult, Dns, Interface, IpConfig, Route};
pub use version::{UnknownVersion, Version};
