//! Rules: which routing table a packet is looked up in.

use ipnet::IpNet;
use nix::libc;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::Netlink;
use crate::netlink::error::NetlinkError;
use crate::netlink::route::Family;

/// Before the ordinary tables (32766 and 32767). Named, since without a number the kernel makes a
/// second rule of the same words instead of refusing it.
const PRIORITY: u32 = 32_000;

impl Netlink {
    /// Has packets from these addresses looked up in a table before the ordinary one; that the rule
    /// is there already is fine.
    pub async fn add_rule(&self, from: IpNet, table: u32) -> Result<(), NetlinkError> {
        let family = if from.addr().is_ipv4() { Family::V4 } else { Family::V6 };
        let mut message = rule(family, table);
        message.header.src_len = from.prefix_len();
        message.header.action = RuleAction::ToTable;
        message.attributes.push(RuleAttribute::Priority(PRIORITY));
        message.attributes.push(RuleAttribute::Source(from.trunc().addr()));
        let request = RouteNetlinkMessage::NewRule(message);
        match self.request(request, NLM_F_CREATE | NLM_F_EXCL).await {
            Err(cause) if cause.errno() != Some(libc::EEXIST) => {
                Err(cause.of("add", format_args!("rule from {from} to table {table}")))
            }
            _ => Ok(()),
        }
    }

    /// Deletes every rule of a family that leads to a table.
    pub async fn delete_rules(&self, family: Family, table: u32) -> Result<(), NetlinkError> {
        loop {
            let request = RouteNetlinkMessage::DelRule(rule(family, table));
            match self.request(request, 0).await {
                Ok(_) => {}
                Err(cause) if cause.errno() == Some(libc::ENOENT) => return Ok(()),
                Err(cause) => {
                    return Err(cause.of("delete", format_args!("rules to table {table}")));
                }
            }
        }
    }
}

fn rule(family: Family, table: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::from(family);
    message.attributes.push(RuleAttribute::Table(table));
    message
}
