//! What is wrong: addresses that are allocated but not used, used but not allocated, handles
//! without addresses, blocks that are damaged; and what the consistency checker finds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::clock;
use libcalico::ipam::Block;
use libcalico::ipam::block::{AttributeRecord, WINDOWS_RESERVED_HANDLE};
use libcalico::ipam::check::{self, Problem, Severity};
use libcalico::resources::time::parse_rfc3339;
use libcalico::store::Revision;

use super::attributes;
use crate::commands::ipam::survey::{Survey, Users};

/// What was found.
pub struct Findings {
    /// Everyone who uses an address.
    pub users: Users,
    /// Addresses that are allocated and not used, with what is recorded of them.
    pub leaked: BTreeMap<IpAddr, AttributeRecord>,
    /// Addresses in use that are in no active pool.
    outside: BTreeSet<IpAddr>,
    /// Addresses in use that are in an active pool and not allocated.
    unallocated: BTreeSet<IpAddr>,
    /// Handles without any address.
    pub idle_handles: BTreeMap<String, Revision>,
    /// How many handles have addresses.
    busy_handles: usize,
    /// Handles that blocks name and that don't exist.
    missing_handles: BTreeSet<String>,
    /// Damaged blocks, and what is wrong with them.
    invalid_blocks: BTreeMap<IpNet, Vec<String>>,
    /// What the consistency checker finds beside these.
    pub further: Vec<Problem>,
}

impl Findings {
    /// Compares.
    pub fn of(survey: &Survey) -> Findings {
        let users = survey.users();
        let mut leaked = BTreeMap::new();
        let (mut allocated, mut holders) = (BTreeSet::new(), BTreeSet::new());
        for (ip, record) in survey.blocks.values().flat_map(Block::allocated) {
            let id = record.handle().filter(|id| !id.eq_ignore_ascii_case(WINDOWS_RESERVED_HANDLE));
            holders.extend(id.map(str::to_owned));
            // What cools down is on its way back, and not lost.
            if record.released_at.is_some() {
                continue;
            }
            allocated.insert(ip);
            if !users.contains_key(&ip) {
                leaked.insert(ip, record.clone());
            }
        }
        let in_pool = |ip: &IpAddr| {
            survey.pools.iter().any(|pool| pool.is_enabled() && pool.cidr.contains(ip))
        };
        let (mut outside, mut unallocated) = (BTreeSet::new(), BTreeSet::new());
        for ip in users.keys() {
            if !in_pool(ip) {
                outside.insert(*ip);
            } else if !allocated.contains(ip) {
                unallocated.insert(*ip);
            }
        }
        let idle_handles: BTreeMap<String, Revision> = survey
            .handles
            .iter()
            .filter(|(id, _)| !holders.contains(*id))
            .map(|(id, (revision, _))| (id.clone(), *revision))
            .collect();
        let missing_handles =
            holders.iter().filter(|id| !survey.handles.contains_key(*id)).cloned().collect();
        let further = check::check(&survey.documents).problems;
        Findings {
            busy_handles: survey.handles.len() - idle_handles.len(),
            users,
            leaked,
            outside,
            unallocated,
            idle_handles,
            missing_handles,
            invalid_blocks: invalid_blocks(survey),
            further: further.into_iter().filter(|problem| !problem.told_by_upstream).collect(),
        }
    }

    /// How many of the further findings are more than waste.
    pub fn further_problems(&self) -> usize {
        self.further.iter().filter(|problem| problem.severity > Severity::Waste).count()
    }

    /// How many problems there are. Handles that don't exist are counted among the further ones.
    pub fn count(&self) -> usize {
        self.leaked.len()
            + self.outside.len()
            + self.unallocated.len()
            + self.idle_handles.len()
            + self.invalid_blocks.len()
            + self.further_problems()
    }

    /// Tells them; single ones only if they are to be listed.
    pub fn tell(&self, listed: bool, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "Scanning for IPs that are allocated but not actually in use...")?;
        for (ip, record) in self.leaked.iter().filter(|_| listed) {
            writeln!(out, "  {ip} leaked; attrs {}", attributes(record))?;
        }
        let leaked = self.leaked.len();
        writeln!(out, "Found {leaked} IPs that are allocated in IPAM but not actually in use.")?;
        writeln!(
            out,
            "Scanning for IPs that are in use by a workload or node but not allocated in IPAM..."
        )?;
        let user =
            |ip: &IpAddr| self.users.get(ip).map(|users| users.join(", ")).unwrap_or_default();
        for ip in self.outside.iter().filter(|_| listed) {
            writeln!(out, "  {ip} in use by {} and not in any active IP pool.", user(ip))?;
        }
        for ip in self.unallocated.iter().filter(|_| listed) {
            writeln!(
                out,
                "  {ip} in use by {} and in active IPAM pool but has no IPAM allocation.",
                user(ip)
            )?;
        }
        writeln!(out, "Found {} in-use IPs that are not in active IP pools.", self.outside.len())?;
        writeln!(
            out,
            "Found {} in-use IPs that are in active IP pools but have no corresponding IPAM \
             allocation.\n",
            self.unallocated.len()
        )?;
        self.tell_handles(listed, out)?;
        writeln!(out, "Validating IPAMBlock structures...")?;
        for (cidr, problems) in &self.invalid_blocks {
            writeln!(out, "  {cidr} is invalid: {}", problems.join(", "))?;
        }
        writeln!(out, "Found {} invalid IPAMBlocks.", self.invalid_blocks.len())
    }

    fn tell_handles(&self, listed: bool, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "Scanning for IPAM handles with no matching IPs...")?;
        for id in self.idle_handles.keys().filter(|_| listed) {
            writeln!(out, "  {id} has no matching IPs.")?;
        }
        writeln!(
            out,
            "Found {} handles with no matching IPs (and {} handles with matches).",
            self.idle_handles.len(),
            self.busy_handles
        )?;
        writeln!(out, "Scanning for IPs with missing handle...")?;
        for id in self.missing_handles.iter().filter(|_| listed) {
            writeln!(out, "  {id} is named by a block and does not exist.")?;
        }
        writeln!(
            out,
            "Found {} handles mentioned in blocks with no matching handle resource.",
            self.missing_handles.len()
        )
    }
}

/// Blocks that break a rule of their structure.
fn invalid_blocks(survey: &Survey) -> BTreeMap<IpNet, Vec<String>> {
    let mut invalid: BTreeMap<IpNet, Vec<String>> =
        survey.unreadable.iter().map(|cidr| (*cidr, vec!["it can't be read".to_owned()])).collect();
    let now = clock::now();
    for (cidr, block) in &survey.blocks {
        let mut problems = block.problems();
        let used: BTreeSet<u32> = block.allocations.iter().copied().flatten().collect();
        for (index, record) in (0u32..).zip(block.attributes.iter().flatten()) {
            if !used.contains(&index) {
                problems.push(format!("nothing refers to record {index}"));
            }
            let released = record.released_at.as_deref().and_then(|at| parse_rfc3339(at).ok());
            if released.is_some_and(|at| at > now) {
                problems.push(format!("record {index} was released in the future"));
            }
        }
        if !problems.is_empty() {
            invalid.insert(*cidr, problems);
        }
    }
    invalid
}
