//! `calicoctl ipam check` (`reference/calicoctl.md` 6.3): what is allocated compared with what is in
//! use, then what the consistency checker finds beside that. It needs no Kubernetes API: what is
//! given to Services is not looked at. `--fix` is ours.

mod findings;
mod fix;
pub mod report;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use libcalico::ipam::block::AttributeRecord;
use libcalico::ipam::check::Severity;

use super::survey::Survey;
use crate::commands::Outcome;
use crate::context::Context;

pub use findings::Findings;
use report::Report;

/// How many of the nodes with the most addresses are listed.
const BUSIEST: usize = 20;

/// Flags of `ipam check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Lists every address.
    #[arg(long)]
    show_all_ips: bool,
    /// Lists the addresses that something is wrong with.
    #[arg(long)]
    show_problem_ips: bool,
    /// Writes a report into this file, which `ipam release --from-report` reads; `json` prints it
    /// instead of the text.
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
    /// Repairs what is provably safe to repair, and tells what it did.
    #[arg(long)]
    fix: bool,
    /// With --fix: gives back addresses that nobody uses, of nodes that are gone; of every node if
    /// the datastore is locked.
    #[arg(long, requires = "fix")]
    release_leaked: bool,
    /// Ignored: the Kubernetes API is not asked.
    #[arg(long, value_name = "FILE", hide = true)]
    kubeconfig: Option<String>,
}

impl Check {
    /// Looks, tells, and repairs if it is asked to.
    pub fn run(self, context: &Context) -> Outcome {
        let client = context.client()?;
        context.block_on(async {
            let survey = Survey::read(&client, context.deadline()).await?;
            let findings = Findings::of(&survey);
            let quiet = self.output.as_deref() == Some("json");
            self.answer(&survey, &findings, quiet)?;
            if self.fix {
                fix::run(&client, survey, self.release_leaked, quiet, context).await?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    fn answer(&self, survey: &Survey, findings: &Findings, quiet: bool) -> anyhow::Result<()> {
        let report = || Report::new(survey, findings).to_json();
        let mut out = std::io::stdout().lock();
        if quiet {
            return Ok(writeln!(out, "{}", report()?)?);
        }
        self.tell(survey, findings, &mut out)?;
        if let Some(file) = &self.output {
            fs::write(file, report()?)
                .with_context(|| format!("failed to write the report {file}"))?;
        }
        Ok(())
    }

    fn tell(
        &self,
        survey: &Survey,
        findings: &Findings,
        out: &mut impl Write,
    ) -> std::io::Result<()> {
        let problems_listed = self.show_problem_ips || self.show_all_ips;
        writeln!(out, "Checking IPAM for inconsistencies...\n")?;
        self.tell_blocks(survey, out)?;
        self.tell_users(survey, out)?;
        tell_busiest(survey, out)?;
        findings.tell(problems_listed, out)?;
        tell_further(findings, out)?;
        writeln!(out, "Check complete; found {} problems.", findings.count())
    }

    fn tell_blocks(&self, survey: &Survey, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "Loading all IPAM blocks...")?;
        writeln!(out, "Found {} IPAM blocks.", survey.blocks.len() + survey.unreadable.len())?;
        for (cidr, block) in &survey.blocks {
            let affinity = block.affinity.as_deref().unwrap_or("<none>");
            writeln!(out, " IPAM block {cidr} affinity={affinity}:")?;
            for (ip, record) in block.allocated().filter(|_| self.show_all_ips) {
                writeln!(out, "  {ip} allocated; attrs {}", attributes(record))?;
            }
        }
        for cidr in &survey.unreadable {
            writeln!(out, " IPAM block {cidr} can't be read")?;
        }
        let allocations: usize =
            survey.blocks.values().map(|block| block.allocated().count()).sum();
        writeln!(out, "IPAM blocks record {allocations} allocations.\n")?;
        writeln!(out, "Loading all IPAM pools...")?;
        let active = || survey.pools.iter().filter(|pool| pool.is_enabled());
        for pool in active() {
            writeln!(out, "  {}", pool.cidr)?;
        }
        writeln!(out, "Found {} active IP pools.\n", active().count())
    }

    fn tell_users(&self, survey: &Survey, out: &mut impl Write) -> std::io::Result<()> {
        let (tunnels, workloads) = (survey.tunnel_users(), survey.workload_users());
        let mut list = |title: &str, what: &str, users: &super::survey::Users| {
            writeln!(out, "{title}")?;
            if self.show_all_ips {
                for (ip, users) in users {
                    for user in users {
                        writeln!(out, "  {ip} belongs to {user}")?;
                    }
                }
            }
            writeln!(out, "Found {} {what} IPs.", users.len())
        };
        list("Loading all nodes.", "node tunnel", &tunnels)?;
        let services = if survey.serves_load_balancers {
            "Addresses of Services are not looked at, as that needs the Kubernetes API; what is given \
             to them counts as used."
        } else {
            "No configuration for LoadBalancer kubecontroller found, skipping service check"
        };
        let title = format!(
            "\nLoading all service load balancer IPs.\n{services}\n\nLoading all workload endpoints."
        );
        list(&title, "workload", &workloads)?;
        let mut used = workloads;
        used.extend(tunnels);
        writeln!(out, "Workloads and nodes are using {} IPs.\n", used.len())
    }
}

/// The nodes with the most addresses: by what an address says of itself, else by its block's owner.
fn tell_busiest(survey: &Survey, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "Loading all handles")?;
    writeln!(out, "Looking for top (up to {BUSIEST}) nodes by allocations...")?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for block in survey.blocks.values() {
        let owner = block.affinity.as_deref().and_then(|text| text.strip_prefix("host:"));
        for (_, record) in block.allocated() {
            if let Some(node) = record.secondary.get("node").map(String::as_str).or(owner) {
                *counts.entry(node).or_default() += 1;
            }
        }
    }
    let mut nodes: Vec<(&str, usize)> = counts.into_iter().collect();
    nodes.sort_by_key(|(node, count)| (std::cmp::Reverse(*count), *node));
    for (node, count) in nodes.iter().take(BUSIEST) {
        writeln!(out, "  {node} has {count} allocations")?;
    }
    if let (Some((_, most)), Some((_, median))) = (nodes.first(), nodes.get(nodes.len() / 2)) {
        writeln!(out, "Node with most allocations has {most}; median is {median}")?;
    }
    writeln!(out)
}

/// What upstream doesn't look at; nothing is said when there is nothing.
fn tell_further(findings: &Findings, out: &mut impl Write) -> std::io::Result<()> {
    if findings.further.is_empty() {
        return Ok(());
    }
    writeln!(out, "Comparing blocks, affinities, handles and endpoints with each other...")?;
    for problem in &findings.further {
        let kind = match problem.severity {
            Severity::Waste => "wasted",
            Severity::HalfDone => "half done",
            Severity::Broken => "broken",
        };
        writeln!(out, "  {kind}: {}", problem.text)?;
    }
    let wasted = findings.further.len() - findings.further_problems();
    writeln!(
        out,
        "Found {} further problems (and {wasted} things that only waste space); calicoctl ipam check \
         --fix repairs what is safe.",
        findings.further_problems()
    )
}

/// The record of an address, as upstream writes it.
fn attributes(record: &AttributeRecord) -> String {
    let extra: Vec<String> =
        record.secondary.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("Main:{} Extra:{}", record.handle().unwrap_or("<none>"), extra.join(","))
}
