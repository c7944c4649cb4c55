//! Names of the early documents as names of today (`reference/calicoctl.md` section 5.9): those are
//! lower case, of letters, digits, `-` and `.`.

use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::names::is_valid_name;
use sha1::{Digest, Sha1};

/// The name under which a profile is stored. What was more than upper case gets a suffix, so that
/// two names stay two.
pub fn of_profile(name: &str) -> String {
    let lower = name.to_lowercase();
    if is_valid_name(&lower) {
        return lower;
    }
    let mut clean = String::with_capacity(lower.len());
    for c in lower.chars() {
        clean.push(match c {
            '/' => '.',
            'a'..='z' | '0'..='9' | '-' | '.' => c,
            _ => '-',
        });
    }
    let mut parts: Vec<&str> = clean.split('.').map(|part| part.trim_matches('-')).collect();
    parts.retain(|part| !part.is_empty());
    let digest = Sha1::digest(name.as_bytes());
    let suffix: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    match parts.is_empty() {
        true => suffix,
        false => format!("{}-{suffix}", parts.join(".")),
    }
}

/// The name of the pool of a range.
pub fn of_pool(cidr: &IpNet) -> String {
    cidr.to_string().replace(['.', ':', '/'], "-")
}

/// The name of a global BGP peer.
pub fn of_peer(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string().replace('.', "-"),
        IpAddr::V6(ip) => ip.segments().map(|group| format!("{group:04x}")).join("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_keep_a_name_that_fits_and_stay_apart_otherwise() {
        assert_eq!(of_profile("web"), "web");
        assert_eq!(of_profile("Web.1"), "web.1");
        assert_eq!(of_profile("PROF_A"), "prof-a-447651e6");
        assert_ne!(of_profile("PROF_A"), of_profile("PROF-A"));
        assert_eq!(of_profile("_"), "53a0acfa");
        for odd in ["a/b", "-a-", "a..b", "._.", "A B", "x".repeat(40).as_str()] {
            assert!(is_valid_name(&of_profile(odd)), "{odd}");
        }
    }

    #[test]
    fn pools_and_peers_are_named_by_their_addresses() {
        let pool = |cidr: &str| of_pool(&cidr.parse().unwrap());
        assert_eq!(pool("192.168.0.0/16"), "192-168-0-0-16");
        assert_eq!(pool("fd80:24e2:f998:72d6::/64"), "fd80-24e2-f998-72d6---64");
        let peer = |ip: &str| of_peer(ip.parse().unwrap());
        assert_eq!(peer("192.20.30.40"), "192-20-30-40");
        assert_eq!(peer("aa:bb::ff"), "00aa-00bb-0000-0000-0000-0000-0000-00ff");
    }
}
