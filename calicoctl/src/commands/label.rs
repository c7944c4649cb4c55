//! `calicoctl label`: sets or removes labels of a resource (`reference/calicoctl.md` section 4.7).

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::resources::metadata::StringMap;

use super::change::{Id, change};
use super::namespace::Namespace;
use super::{Outcome, fault};
use crate::context::Context;
use crate::kinds::KindInfo;

/// Arguments of `label`.
#[derive(Debug, Args)]
pub struct Label {
    /// The kind of the resource.
    #[arg(value_name = "KIND")]
    kind: String,
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// Labels to set, as key=value; or keys to remove.
    #[arg(value_name = "LABEL", required = true)]
    labels: Vec<String>,
    /// Give labels another value that are there.
    #[arg(long)]
    overwrite: bool,
    /// Remove labels.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    namespace: Namespace,
}

/// A change of one label.
#[derive(Debug, PartialEq, Eq)]
enum Change<'a> {
    Set { key: &'a str, value: &'a str },
    Remove { key: &'a str },
}

impl Label {
    /// Changes the labels: all of them, or none.
    pub fn run(self, context: &Context) -> Outcome {
        let changes: Vec<Change> =
            self.labels.iter().map(|label| self.parse(label)).collect::<anyhow::Result<_>>()?;
        let kind = KindInfo::named(&self.kind)?.kind;
        if self.name.is_empty() {
            bail!("resource name may not be empty");
        }
        let id = (kind, self.namespace.of(kind)?, self.name.as_str());
        let client = context.client()?;
        let lines = context.block_on(self.set(context, &client, id, &changes))?;
        let mut out = std::io::stdout().lock();
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        Ok(ExitCode::SUCCESS)
    }

    fn parse<'a>(&self, label: &'a str) -> anyhow::Result<Change<'a>> {
        if self.remove {
            return match label.contains('=') {
                true => bail!("invalid label {label}: to remove a label, give its key alone"),
                false => Ok(Change::Remove { key: label }),
            };
        }
        match label.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.contains('=') => {
                Ok(Change::Set { key, value })
            }
            _ => bail!("invalid label {label}: write it as key=value"),
        }
    }

    /// Changes the labels of the stored resource; a line about each.
    async fn set(
        &self,
        context: &Context,
        client: &Client,
        id: Id<'_>,
        changes: &[Change<'_>],
    ) -> anyhow::Result<Vec<String>> {
        let what = format!("{} {}", self.kind, self.name);
        let mut lines = Vec::new();
        let changed = change::<anyhow::Error>(context, client, id, |mut resource| {
            let labels = &mut resource.metadata.labels;
            let each = changes.iter().map(|change| apply(labels, change, self.overwrite, &what));
            lines = each.collect::<anyhow::Result<_>>()?;
            Ok(resource)
        });
        let Err(error) = changed.await else { return Ok(lines) };
        match error.downcast_ref::<ClientError>() {
            Some(error) if error.kind() == ErrorKind::NotFound => bail!("{what} not found"),
            Some(error) => {
                bail!("failed to update {what}, label not changed: {}", fault::message(error))
            }
            None => Err(error),
        }
    }
}

/// Changes a label among `labels`; the line that says so.
fn apply(
    labels: &mut StringMap,
    change: &Change<'_>,
    overwrite: bool,
    what: &str,
) -> anyhow::Result<String> {
    match *change {
        Change::Remove { key } => match labels.remove(key) {
            Some(_) => Ok(format!("Successfully removed label {key} from {what}")),
            None => bail!("cannot remove label of {what}, key {key} does not exist"),
        },
        Change::Set { key, value } => match labels.insert(key.to_owned(), value.to_owned()) {
            None => Ok(format!("Successfully set label {key} on {what}")),
            Some(old) if overwrite || old == value => {
                Ok(format!("Successfully updated label {key} on {what}"))
            }
            Some(_) => bail!(
                "failed to update label of {what}, key {key} is already present. please use \
                 '--overwrite' to set a new value"
            ),
        },
    }
}
