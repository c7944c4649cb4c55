//! `calicoctl get`: shows resources (`reference/calicoctl.md` sections 4.4 and 5).

use std::io::Write;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use libcalico::client::{Client, ErrorKind};
use libcalico::resources::{AnyResource, Kind, ObjectMeta};

use super::which::Which;
use super::{Outcome, batch, fault};
use crate::context::Context;
use crate::kinds::Facts;
use crate::output::format::{Format, Printer, Shown};
use crate::progress::doing;

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct Get {
    #[command(flatten)]
    which: Which,
    /// How to show them: ps, wide, yaml, json, custom-columns=A,B, go-template=TEMPLATE or
    /// go-template-file=FILE.
    #[arg(short, long, value_name = "FORMAT", default_value = "ps")]
    output: String,
    /// Those of all namespaces.
    #[arg(short = 'A', long, short_alias = 'a')]
    all_namespaces: bool,
    /// Leave out what belongs to this cluster: identity, times and namespace.
    #[arg(long)]
    export: bool,
}

/// What to read.
enum Wanted {
    /// A kind, of one namespace or of all.
    List(Kind, Option<String>),
    /// A resource: of what is given, only kind, namespace and name count.
    One(Box<AnyResource>),
}

impl Get {
    /// Shows the resources.
    pub fn run(self, context: &Context) -> Outcome {
        let format = Format::parse(&self.output)?;
        let Some(wanted) = self.wanted()? else { return batch::nothing() };
        let client = context.client()?;
        let (shown, errors, facts) = context.block_on(async {
            let (mut shown, mut errors) = (Vec::new(), Vec::new());
            for wanted in wanted {
                match doing("reading", read(context, &client, wanted)).await {
                    Ok(found) => shown.push(found),
                    Err(error) => {
                        let unavailable = error.kind() == ErrorKind::Unavailable;
                        errors.push(fault::message(&error));
                        if unavailable {
                            break;
                        }
                    }
                }
            }
            let facts = match format.needs_facts(&shown) {
                true => facts(context, &client).await?,
                false => Facts::default(),
            };
            Ok((shown, errors, facts))
        })?;
        let exported: Vec<Shown> = shown.into_iter().map(|shown| self.exported(shown)).collect();
        let printer = Printer {
            format: &format,
            namespaces: self.all_namespaces || self.which.namespace.namespace.is_some(),
            facts,
        };
        let mut out = std::io::stdout().lock();
        out.write_all(printer.print(&exported)?.as_bytes())?;
        out.flush()?;
        if errors.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("{}", errors.join("\n"));
        Ok(ExitCode::FAILURE)
    }

    fn wanted(&self) -> anyhow::Result<Option<Vec<Wanted>>> {
        let Which { names, namespace, .. } = &self.which;
        if self.all_namespaces && namespace.namespace.is_some() {
            bail!("cannot use both --namespace and --all-namespaces flags at the same time");
        }
        let one = |resource| Wanted::One(Box::new(resource));
        let Some(kind) = self.which.kind("get")? else {
            let resources = self.which.of_file()?;
            return Ok(resources.map(|resources| resources.into_iter().map(one).collect()));
        };
        if self.all_namespaces {
            if !kind.namespaced() {
                bail!("{} is not namespaced", kind.name());
            }
            if !names.is_empty() {
                bail!("cannot use --all-namespace flag for getting a single resource");
            }
            return Ok(Some(vec![Wanted::List(kind, None)]));
        }
        if names.is_empty() {
            return Ok(Some(vec![Wanted::List(kind, Some(namespace.of(kind)?.to_owned()))]));
        }
        Ok(Some(self.which.named(kind)?.into_iter().map(one).collect()))
    }

    /// A resource that was asked for by its name, without what belongs to this cluster.
    fn exported(&self, shown: Shown) -> Shown {
        match shown {
            Shown::One(mut resource) if self.export && !self.which.names.is_empty() => {
                resource.metadata = ObjectMeta {
                    namespace: String::new(),
                    uid: String::new(),
                    resource_version: String::new(),
                    creation_timestamp: None,
                    deletion_timestamp: None,
                    deletion_grace_period_seconds: None,
                    ..resource.metadata
                };
                Shown::One(resource)
            }
            shown => shown,
        }
    }
}

async fn read(
    context: &Context,
    client: &Client,
    wanted: Wanted,
) -> Result<Shown, libcalico::client::ClientError> {
    match wanted {
        Wanted::List(kind, namespace) => {
            let list = client.list_any(kind, namespace.as_deref(), context.deadline()).await?;
            let mut items = list.items;
            if kind == Kind::Tier {
                items.sort_by(|a, b| order_of(a).total_cmp(&order_of(b)));
            }
            Ok(Shown::List { kind, items, revision: list.revision })
        }
        Wanted::One(wanted) => {
            let AnyResource { kind, metadata, .. } = *wanted;
            let (namespace, name) = (&metadata.namespace, &metadata.name);
            let found = client.get_any(kind, namespace, name, context.deadline()).await?;
            Ok(Shown::One(Box::new(found)))
        }
    }
}

/// Where a tier stands among the others: one without an order is the last.
fn order_of(tier: &AnyResource) -> f64 {
    tier.spec.get("order").and_then(serde_json::Value::as_f64).unwrap_or(f64::INFINITY)
}

/// What tables show that is in the cluster's configuration.
async fn facts(context: &Context, client: &Client) -> anyhow::Result<Facts> {
    let read = client.get_any(Kind::BgpConfiguration, "", "default", context.deadline()).await;
    let facts = Facts::default();
    match read {
        Ok(configuration) => {
            let own = configuration.spec.get("asNumber").and_then(serde_json::Value::as_u64);
            let own = own.and_then(|number| u32::try_from(number).ok());
            Ok(Facts { as_number: own.unwrap_or(facts.as_number) })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(facts),
        Err(error) => Err(anyhow!("failed to get resources: {}", fault::message(&error))),
    }
}
