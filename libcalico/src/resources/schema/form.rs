//! Forms of text: what tables of fields check, each with the sentence that says what is missing.
//!
//! The sentences follow a field's name, so they begin with "must".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::go;
use crate::names;

pub(super) const NAME: &str =
    "must be lower-case letters, digits, '-' and '.', and begin and end with a letter or digit";
pub(super) const INTERFACE: &str = "must be 1 to 15 of a-z A-Z 0-9 _ . - or be *";
pub(super) const INTERFACE_PATTERN: &str = "must be 1 to 15 of a-z A-Z 0-9 _ . - and *";
pub(super) const INTERFACE_FILTER: &str = "must be 1 to 15 of a-z A-Z 0-9 : . _ + -";
pub(super) const IP: &str = "must be an address";
pub(super) const IPV4: &str = "must be an IPv4 address";
pub(super) const IPV6: &str = "must be an IPv6 address";
pub(super) const NET: &str = "must be a CIDR or an address";
pub(super) const MASKED_NET: &str = "must be a CIDR without host bits, or an address";
pub(super) const CIDR: &str = "must be a CIDR";
pub(super) const IPV4_NET: &str = "must be an IPv4 CIDR without host bits";
pub(super) const IPV6_NET: &str = "must be an IPv6 CIDR without host bits";
pub(super) const PEER_ADDRESS: &str =
    "must be an address, IPv4:port or [IPv6]:port, with a port from 1 to 65535";
pub(super) const PORT_NAME: &str =
    "must be a port name: at most 15 lower-case letters, digits and '-', with a letter";
pub(super) const COMMUNITY: &str = "must be aa:nn of 16 bits each, or aa:nn:mm of 32 bits each";
pub(super) const PLAIN_DURATION: &str = "must not be negative, nor finer than a millisecond";
pub(super) const DURATION_OR_AUTO: &str = "must be a duration like 10s, or Auto";
pub(super) const REGION: &str = "must be at most 46 lower-case letters, digits and '-'";
pub(super) const LISTEN_HOST: &str = "must be 1 to 64 of a-z A-Z 0-9 : . _ + -";
pub(super) const SWITCHES: &str = "must be a list like NameA=true,NameB=false";
pub(super) const SETTINGS: &str = "must be a list like NameA=value,NameB=value";
pub(super) const RATE: &str = "must be 1 to 9999 a second, minute, hour or day, like 10/minute";
pub(super) const LOG_PREFIX: &str = "must be of a-z A-Z 0-9 % : / _ - and blanks";
pub(super) const TIMEOUT_NAME: &str = "must be of a-z A-Z 0-9 _ - and blanks";

pub(super) fn is_name(text: &str) -> bool {
    names::is_valid_name(text)
}

pub(super) fn is_interface(text: &str) -> bool {
    names::is_valid_interface_name(text)
}

/// An interface name in which `*` stands for anything.
pub(super) fn is_interface_pattern(text: &str) -> bool {
    of(text, 1..=15, "_.*-")
}

/// As [`is_interface_pattern`], but it has to say something.
pub(super) fn is_ignored_interface(text: &str) -> bool {
    text != "*" && is_interface_pattern(text)
}

pub(super) fn is_interface_filter(text: &str) -> bool {
    of(text, 1..=15, ":._+-")
}

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

pub(super) fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

pub(super) fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// A CIDR, with host bits perhaps, or an address alone.
pub(super) fn is_net(text: &str) -> bool {
    text.parse::<IpNet>().is_ok() || is_ip(text)
}

pub(super) fn is_masked_net(text: &str) -> bool {
    text.parse::<IpNet>().map_or_else(|_| is_ip(text), |net| net == net.trunc())
}

pub(super) fn is_cidr(text: &str) -> bool {
    text.parse::<IpNet>().is_ok()
}

pub(super) fn is_ipv4_net(text: &str) -> bool {
    is_ipv4(text) || matches!(text.parse(), Ok(IpNet::V4(net)) if net == net.trunc())
}

pub(super) fn is_ipv6_net(text: &str) -> bool {
    is_ipv6(text) || matches!(text.parse(), Ok(IpNet::V6(net)) if net == net.trunc())
}

/// The address of a BGP peer, with or without a port.
pub(super) fn is_peer(text: &str) -> bool {
    peer_address(text).is_some()
}

/// The address of a BGP peer.
pub(super) fn peer_address(text: &str) -> Option<IpAddr> {
    let with_port = |address: &str, port: &str| {
        let plain = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| plain && *port > 0);
        port.and_then(|_| address.parse::<IpAddr>().ok())
    };
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        return with_port(address, port);
    }
    match text.split_once(':') {
        Some((address, port)) if is_ipv4(address) => with_port(address, port),
        _ => text.parse().ok(),
    }
}

/// A service name as IANA has it.
pub(super) fn is_port_name(text: &str) -> bool {
    of(text, 1..=15, "-")
        && !text.bytes().any(|b| b.is_ascii_uppercase())
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

/// A community: two numbers of 16 bits, or three of 32.
pub(super) fn is_community(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let most = match parts.len() {
        2 => u64::from(u16::MAX),
        3 => u64::from(u32::MAX),
        _ => return false,
    };
    parts.iter().all(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits && part.parse::<u64>().is_ok_and(|number| number <= most)
    })
}

pub(super) fn is_plain_duration(text: &str) -> bool {
    go::parse_duration(text).is_some_and(|nanos| nanos >= 0 && nanos % 1_000_000 == 0)
}

pub(super) fn is_duration_or_auto(text: &str) -> bool {
    text == "Auto" || go::parse_duration(text).is_some_and(|nanos| nanos >= 0)
}

/// A region of OpenStack, which becomes a part of a namespace's name.
pub(super) fn is_region(text: &str) -> bool {
    text.len() <= 46 && names::is_valid_short_name(text)
}

pub(super) fn is_listen_host(text: &str) -> bool {
    of(text, 1..=64, ":._+-")
}

pub(super) fn is_switches(text: &str) -> bool {
    settings(text, |value| matches!(value, "true" | "false" | ""))
}

pub(super) fn is_settings(text: &str) -> bool {
    settings(text, |value| !value.is_empty() && !value.contains('='))
}

/// `name=value` with commas between; a comma may end the list.
fn settings(text: &str, fits: impl Fn(&str) -> bool) -> bool {
    text.split(',').all(|entry| {
        let setting = entry.split_once('=');
        entry.is_empty()
            || setting.is_some_and(|(name, value)| of(name, 1..=253, "-_") && fits(value))
    })
}

pub(super) fn is_rate(text: &str) -> bool {
    let Some((count, period)) = text.split_once('/') else { return false };
    let count = count.bytes().all(|b| b.is_ascii_digit()).then(|| count.parse::<u16>().ok());
    count.flatten().is_some_and(|count| (1..=9999).contains(&count))
        && matches!(period, "second" | "minute" | "hour" | "day")
}

pub(super) fn is_log_prefix(text: &str) -> bool {
    of(text, 0..=usize::MAX, "%: /_-")
}

pub(super) fn is_timeout_name(text: &str) -> bool {
    of(text, 1..=usize::MAX, "_ -")
}

/// Whether a text is so long and of ASCII letters, digits and these.
fn of(text: &str, length: std::ops::RangeInclusive<usize>, others: &str) -> bool {
    length.contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}
