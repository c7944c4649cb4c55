//! `calicoctl ipam release` (`reference/calicoctl.md` 6.2). An address that an endpoint or a tunnel
//! uses is kept, whatever a report says (section 9, number 8).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use libcalico::client::Client;
use libcalico::ipam::handle::Handle;
use libcalico::ipam::{Allocator, ReleaseGuard, ReleaseOutcome};
use libcalico::store::{Change, Committed, Key, Query};
use serde_json::json;

use super::check::report::{Allocation, LeakedHandle, Report};
use super::survey::Survey;
use super::{Format, parse_ip, print_json};
use crate::commands::Outcome;
use crate::context::Context;
use crate::progress::doing;

/// Flags of `ipam release`.
#[derive(Debug, Args)]
pub struct Release {
    /// The address to give back.
    #[arg(long, value_name = "IP", required_unless_present = "from_report")]
    ip: Option<String>,
    /// A report of `ipam check`: what nobody used is given back. With several, only what nobody
    /// used in any of them.
    #[arg(long, value_name = "FILE", conflicts_with = "ip")]
    from_report: Vec<String>,
    /// Goes on although the address is in use, or the datastore is not locked, or a report is old.
    #[arg(long)]
    force: bool,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What became of the contents of reports.
#[derive(Default)]
struct Done {
    listed: usize,
    released: Vec<IpAddr>,
    kept: Vec<(IpAddr, String)>,
    error: Option<String>,
    /// Of the handles: how many there were, and how many were released, skipped and failed.
    handles: (usize, usize, usize, usize),
}

impl Release {
    /// Gives back.
    pub fn run(self, context: &Context) -> Outcome {
        let ip = self.ip.as_deref().map(parse_ip).transpose()?;
        let client = context.client()?;
        match ip {
            Some(ip) => context.block_on(self.address(ip, &client, context)),
            None => {
                let reports = self.reports()?;
                context.block_on(self.release_reported(reports, &client, context))
            }
        }
    }

    async fn address(&self, ip: IpAddr, client: &Client, context: &Context) -> Outcome {
        let survey = Survey::read(client, context.deadline()).await?;
        let users = survey.users().remove(&ip).unwrap_or_default();
        if !self.force && !users.is_empty() {
            bail!(
                "IP address {ip} is in use by {}: delete that first, or release the address under it \
                 with --force",
                users.join(", ")
            );
        }
        let block = survey.blocks.values().find(|block| block.cidr.contains(&ip));
        let record = block.and_then(|block| block.record(ip).ok().flatten());
        let Some((block, record)) = block.zip(record.filter(|found| found.released_at.is_none()))
        else {
            bail!("IP address {ip} is not assigned");
        };
        // What was looked at is what is released, not what somebody has it for by then.
        let guard = ReleaseGuard {
            address: ip,
            handle: Some(record.handle().unwrap_or_default().to_owned()),
            sequence_number: Some(block.sequence_of(ip)?),
        };
        let allocator = Allocator::new(&**client.store());
        let outcome = allocator.release_ips(&[guard], context.deadline()).await?;
        if let Some(error) = outcome.error {
            return Err(error).with_context(|| format!("failed to release IP address {ip}"));
        }
        ensure!(outcome.unallocated.is_empty(), "IP address {ip} is not assigned");
        match self.output {
            Format::Json => print_json(&json!({ "released": [ip] }))?,
            Format::Text => {
                writeln!(std::io::stdout(), "Successfully released IP address {ip}")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn reports(&self) -> anyhow::Result<Vec<Report>> {
        let read = |file: &String| {
            let text =
                fs::read(file).with_context(|| format!("failed to read the report {file}"))?;
            serde_json::from_slice(&text).with_context(|| format!("{file} is no report of a check"))
        };
        self.from_report.iter().map(read).collect()
    }

    async fn release_reported(
        &self,
        reports: Vec<Report>,
        client: &Client,
        context: &Context,
    ) -> Outcome {
        let survey = Survey::read(client, context.deadline()).await?;
        self.check(&reports, &survey)?;
        let users = survey.users();
        let mut done = Done::default();
        let mut guards = Vec::new();
        for allocation in unused_in_all(&reports) {
            done.listed += 1;
            match users.get(&allocation.ip) {
                Some(users) => done.kept.push((allocation.ip, users.join(", "))),
                None => guards.push(ReleaseGuard {
                    address: allocation.ip,
                    handle: Some(allocation.handle),
                    sequence_number: allocation.sequence_number,
                }),
            }
        }
        let outcome = release(&guards, client, context).await?;
        let freed =
            outcome.processed.iter().filter(|guard| !outcome.unallocated.contains(&guard.address));
        done.released = freed.map(|guard| guard.address).collect();
        done.error = outcome.error.map(|error| error.to_string());
        let handles = leaked_in_all(&reports);
        done.handles.0 = handles.len();
        for handle in handles {
            match release_handle(&handle, client, context).await {
                Ok(true) => done.handles.1 += 1,
                Ok(false) => done.handles.2 += 1,
                Err(error) => {
                    eprintln!("failed to release handle {}: {error:#}", handle.id);
                    done.handles.3 += 1;
                }
            }
        }
        match self.output {
            Format::Json => print_json(&done.describe())?,
            Format::Text => done.tell(&mut std::io::stdout().lock())?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Whether the reports are of this cluster, as it is now.
    fn check(&self, reports: &[Report], survey: &Survey) -> anyhow::Result<()> {
        let cluster = survey.cluster.as_ref().context("the datastore has no ClusterInformation")?;
        let spec = &cluster.spec;
        for (report, file) in reports.iter().zip(&self.from_report) {
            ensure!(
                report.cluster_guid == spec.cluster_guid,
                "report {file} is of cluster {:?}, and this one is {:?}",
                report.cluster_guid,
                spec.cluster_guid
            );
            let known = [spec.calico_version.as_str(), env!("CARGO_PKG_VERSION")];
            ensure!(
                self.force
                    || spec.calico_version.is_empty()
                    || known.contains(&report.version.as_str()),
                "report {file} is of version {:?} and the cluster runs {:?}: make a new report, or \
                 use --force",
                report.version,
                spec.calico_version
            );
        }
        if self.force {
            return Ok(());
        }
        ensure!(
            survey.is_locked(),
            "the datastore is not locked: lock it (calicoctl datastore migrate lock), make a new \
             report, and try again; or use --force"
        );
        let now = &cluster.metadata.resource_version;
        ensure!(
            reports.iter().any(|report| report.cluster_information_revision == *now),
            "every report is older than the lock of the datastore: make another one while it is \
             locked, and give both; or use --force"
        );
        Ok(())
    }
}

impl Done {
    fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "Releasing {} old IPs...", self.listed)?;
        for (ip, users) in &self.kept {
            writeln!(out, "Kept {ip}, which {users} uses by now.")?;
        }
        if let Some(error) = &self.error {
            writeln!(
                out,
                "An error occurred while releasing some IPs: {error}.  Problems are often caused by an \
                 out-of-date IPAM report.  Try regenerating the IPAM report and retry."
            )?;
        }
        if !self.released.is_empty() {
            writeln!(out, "Released {} IPs successfully", self.released.len())?;
        }
        match self.handles {
            (0, ..) => writeln!(out, "Report didn't contain any handles to clean up.")?,
            (all, released, skipped, errors) => {
                writeln!(out, "Deleting {all} handles...")?;
                writeln!(out, "Released {released} handles; {skipped} skipped; {errors} errors.")?;
            }
        }
        writeln!(out, "You may now unlock the data store.")
    }

    fn describe(&self) -> serde_json::Value {
        let (_, released, skipped, errors) = self.handles;
        let kept = |(ip, users): &(IpAddr, String)| json!({ "ip": ip, "usedBy": users });
        json!({
            "released": self.released,
            "kept": self.kept.iter().map(kept).collect::<Vec<_>>(),
            "error": self.error,
            "handles": { "released": released, "skipped": skipped, "errors": errors },
        })
    }
}

/// What every report lists as allocated and not in use, with the same handle and sequence number.
fn unused_in_all(reports: &[Report]) -> Vec<Allocation> {
    let Some((first, others)) = reports.split_first() else { return Vec::new() };
    let unused = |report: &Report, wanted: &Allocation| {
        report.allocations.values().flatten().any(|found| {
            !found.in_use
                && (found.ip, &found.handle, found.sequence_number)
                    == (wanted.ip, &wanted.handle, wanted.sequence_number)
        })
    };
    let mut list: Vec<Allocation> = first
        .allocations
        .values()
        .flatten()
        .filter(|found| !found.in_use)
        .filter(|found| others.iter().all(|report| unused(report, found)))
        .cloned()
        .collect();
    list.sort_by_key(|found| found.ip);
    list
}

/// The handles that every report lists at the same revision.
fn leaked_in_all(reports: &[Report]) -> BTreeSet<LeakedHandle> {
    let mut lists = reports
        .iter()
        .map(|report| report.leaked_handles.iter().cloned().collect::<BTreeSet<LeakedHandle>>());
    let first = lists.next().unwrap_or_default();
    lists.fold(first, |all, list| all.intersection(&list).cloned().collect())
}

async fn release(
    guards: &[ReleaseGuard],
    client: &Client,
    context: &Context,
) -> anyhow::Result<ReleaseOutcome> {
    if guards.is_empty() {
        return Ok(ReleaseOutcome::default());
    }
    let allocator = Allocator::new(&**client.store());
    let release = allocator.release_ips(guards, context.deadline());
    Ok(doing("releasing addresses", release).await?)
}

/// Deletes a handle that is as the report saw it and whose blocks still hold nothing of it. False
/// if it isn't.
async fn release_handle(
    leaked: &LeakedHandle,
    client: &Client,
    context: &Context,
) -> anyhow::Result<bool> {
    let revision = leaked.revision.parse().context("it has no revision in the report")?;
    let key = Key::Handle(leaked.id.clone());
    let read = client.store().read(&[Query::Key(key.clone())], context.deadline()).await?;
    let Some(found) = read.results.into_iter().flatten().next() else { return Ok(false) };
    if found.revision != revision {
        return Ok(false);
    }
    let handle = Handle::decode(&found.value)?;
    let blocks: Vec<Query> = handle.blocks().map(|cidr| Query::Key(Key::Block(cidr))).collect();
    let read = client.store().read(&blocks, context.deadline()).await?;
    let holds = read.results.iter().flatten().any(|block| {
        serde_json::from_slice::<libcalico::ipam::Block>(&block.value)
            .is_ok_and(|block| !block.addresses_of(&leaked.id).is_empty())
    });
    if holds {
        return Ok(false);
    }
    let change = Change::delete(key, revision);
    let committed = client.store().commit(&[change], context.deadline()).await?;
    Ok(matches!(committed, Committed::Done(_)))
}
