//! What host-local gets from us: the ranges of Kubernetes' Node instead of the words that stand for
//! them (`reference/cni-plugin.md` section 3.4), and what its configuration says of the container's
//! routes (section 3.5).

use cni::{Error, NetworkConfig, code};
use ipnet::IpNet;
use libcalico::kubernetes::PodCidrs;
use serde_json::Value;

/// The plugin that this is about.
const HOST_LOCAL: &str = "host-local";
/// Stands for the IPv4 range of the node's pods.
const WORD_V4: &str = "usePodCidr";
/// Stands for the IPv6 range.
const WORD_V6: &str = "usePodCidrIPv6";

/// The configuration for an ADD, where it differs from what came in: with the ranges of the node.
/// `ranges` is none if nobody can tell them.
pub fn for_addition(
    config: &NetworkConfig,
    ranges: Option<&PodCidrs>,
) -> Result<Option<Vec<u8>>, Error> {
    substituted(config, |field, word| {
        let Some(ranges) = ranges else {
            return Err(Error::new(
                code::UNSUPPORTED_FIELD,
                format!(
                    "{field} is \"{}\", which needs the Kubernetes API, and that is not supported \
                     yet: write the range itself",
                    word.text()
                ),
            ));
        };
        let range = match word {
            Word::V4 => ranges.v4.map(|range| range.to_string()),
            Word::V6 => ranges.v6.map(|range| range.to_string()),
        };
        range.ok_or_else(|| {
            Error::new(
                code::INVALID_CONFIG,
                format!(
                    "{field} is \"{}\", but the node of Kubernetes has no range of that family in \
                     spec.podCIDRs",
                    word.text()
                ),
            )
        })
    })
}

/// The configuration for every other verb, where it differs from what came in. host-local finds its
/// leases by the container's id; a range must only stand there, so that nobody has to be asked.
pub fn for_removal(config: &NetworkConfig) -> Option<Vec<u8>> {
    let any = |_: &str, word: Word| {
        Ok(match word {
            Word::V4 => "0.0.0.0/0".to_owned(),
            Word::V6 => "::/0".to_owned(),
        })
    };
    // What has a wrong shape is for host-local to judge.
    substituted(config, any).unwrap_or_default()
}

#[derive(Clone, Copy)]
enum Word {
    V4,
    V6,
}

impl Word {
    fn of(value: &Value) -> Option<Word> {
        let text = value.as_str()?;
        match () {
            () if text.eq_ignore_ascii_case(WORD_V4) => Some(Word::V4),
            () if text.eq_ignore_ascii_case(WORD_V6) => Some(Word::V6),
            () => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Word::V4 => WORD_V4,
            Word::V6 => WORD_V6,
        }
    }
}

/// The configuration with every word replaced; none if there is no word.
fn substituted(
    config: &NetworkConfig,
    range: impl Fn(&str, Word) -> Result<String, Error>,
) -> Result<Option<Vec<u8>>, Error> {
    if config.ipam_type.as_deref() != Some(HOST_LOCAL) {
        return Ok(None);
    }
    let mut document = config.document().clone();
    let mut found = false;
    let mut replace = |field: &str, subnet: &mut Value| -> Result<(), Error> {
        if let Some(word) = Word::of(subnet) {
            *subnet = range(field, word)?.into();
            found = true;
        }
        Ok(())
    };
    for ipam in cni::members_mut(&mut document, "ipam") {
        for subnet in cni::members_mut(ipam, "subnet") {
            replace("ipam.subnet", subnet)?;
        }
        for ranges in cni::members_mut(ipam, "ranges").filter(|ranges| !ranges.is_null()) {
            for (set, list) in list_of(ranges, "ipam.ranges")?.iter_mut().enumerate() {
                let at = format!("ipam.ranges[{set}]");
                for (index, entry) in list_of(list, &at)?.iter_mut().enumerate() {
                    let at = format!("{at}[{index}]");
                    if !entry.is_object() {
                        return Err(wrong_ranges(&at));
                    }
                    for subnet in cni::members_mut(entry, "subnet") {
                        replace(&format!("{at}.subnet"), subnet)?;
                    }
                }
            }
        }
    }
    if !found {
        return Ok(None);
    }
    Ok(Some(document.to_string().into_bytes()))
}

fn list_of<'a>(value: &'a mut Value, at: &str) -> Result<&'a mut Vec<Value>, Error> {
    value.as_array_mut().ok_or_else(|| wrong_ranges(at))
}

fn wrong_ranges(at: &str) -> Error {
    Error::new(code::DECODING_FAILURE, format!("{at} must be a list of lists of objects"))
}

/// The routes that a pod gets through its interface instead of the default ones: the destinations of
/// `ipam.routes`. None if there are none, or another IPAM plugin gives the addresses: then those are
/// its own affair. The next hop is always ours.
pub fn routes(config: &NetworkConfig) -> Result<Option<Vec<IpNet>>, Error> {
    if config.ipam_type.as_deref() != Some(HOST_LOCAL) {
        return Ok(None);
    }
    let routes = config.member("ipam").and_then(|ipam| cni::member(ipam, "routes"));
    let wrong = |at: &str, is: &Value, rule: &str| {
        let is: String = is.to_string().chars().take(64).collect();
        Error::new(code::DECODING_FAILURE, format!("{at} is {is}: {rule}"))
    };
    let list = match routes {
        None => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong("ipam.routes", other, "write a list of objects")),
    };
    let mut destinations: Vec<IpNet> = Vec::with_capacity(list.len());
    for (index, route) in list.iter().enumerate() {
        let at = format!("ipam.routes[{index}]");
        if !route.is_object() {
            return Err(wrong(&at, route, "write an object with \"dst\""));
        }
        let Some(dst) = cni::member(route, "dst") else { continue };
        let parsed = dst.as_str().and_then(|text| text.parse::<IpNet>().ok());
        let at = format!("{at}.dst");
        let parsed = parsed.ok_or_else(|| wrong(&at, dst, "write a CIDR like \"10.0.0.0/8\""))?;
        destinations.push(parsed.trunc());
    }
    Ok(Some(destinations).filter(|destinations| !destinations.is_empty()))
}

#[cfg(test)]
mod tests;
