//! The names that are computed (`reference/cni-plugin.md` sections 2 and 3.10,
//! `reference/datamodel.md` section 3.3, `reference/ipam.md` section 11), and what makes a name
//! valid.

mod endpoint;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub use endpoint::{NameError, WorkloadEndpointName, endpoint_status_file};

/// The host's end of every container of another orchestrator than Kubernetes begins so.
pub const LINK_PREFIX: &str = "cali";

/// The longest handle id that is made for a virtual machine.
const MAX_VM_HANDLE: usize = 128;

/// The name of the host's end of a pod's interface. `prefixes` is Felix' comma list of prefixes,
/// of which the first counts; empty stands for `cali`. Felix computes the same name by itself.
pub fn k8s_host_link(prefixes: &str, namespace: &str, pod: &str) -> String {
    let prefix = match prefixes.split(',').next() {
        None | Some("") => LINK_PREFIX,
        Some(prefix) => prefix,
    };
    let digest = Sha1::digest(format!("{namespace}.{pod}").as_bytes());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{}", hex.get(..11).unwrap_or(&hex))
}

/// The name of the host's end of another container's interface: `cali` and the first eleven
/// characters of its id.
pub fn cni_host_link(container_id: &str) -> String {
    LINK_PREFIX.chars().chain(container_id.chars().take(11)).collect()
}

/// The handle of a container's addresses in a network.
pub fn handle_id(network: &str, container_id: &str) -> String {
    format!("{network}.{container_id}")
}

/// The handle that older releases gave a pod's addresses.
pub fn legacy_k8s_handle_id(namespace: &str, pod: &str) -> String {
    format!("{namespace}.{pod}")
}

/// The handle that older releases gave another container's addresses.
pub fn legacy_cni_handle_id(container_id: &str) -> &str {
    container_id
}

/// The handle of a virtual machine's addresses, which outlive its pods. One that is too long ends
/// in as much of a digest as fits.
pub fn vm_handle_id(network: &str, namespace: &str, vm: &str) -> String {
    let network = if network.is_empty() { "k8s-pod-network" } else { network };
    let prefix = format!("{network}.vmi.");
    let suffix = format!("{namespace}.{vm}");
    if prefix.len() + suffix.len() <= MAX_VM_HANDLE {
        return prefix + &suffix;
    }
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(suffix.as_bytes()));
    prefix.chars().chain(['_']).chain(digest.chars()).take(MAX_VM_HANDLE).collect()
}

/// The handles of a node's own tunnel addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// IPIP.
    Ipip,
    /// VXLAN over IPv4.
    Vxlan,
    /// VXLAN over IPv6.
    VxlanV6,
    /// WireGuard over IPv4.
    Wireguard,
    /// WireGuard over IPv6.
    WireguardV6,
}

impl Tunnel {
    /// Every tunnel.
    pub const ALL: [Tunnel; 5] =
        [Tunnel::Ipip, Tunnel::Vxlan, Tunnel::VxlanV6, Tunnel::Wireguard, Tunnel::WireguardV6];

    /// The handle of this tunnel's address on a node.
    pub fn handle_id(self, node: &str) -> String {
        let tunnel = match self {
            Tunnel::Ipip => "ipip",
            Tunnel::Vxlan => "vxlan",
            Tunnel::VxlanV6 => "vxlan-v6",
            Tunnel::Wireguard => "wireguard",
            Tunnel::WireguardV6 => "wireguard-v6",
        };
        format!("{tunnel}-tunnel-addr-{node}")
    }
}

/// The name that a node gets from its hostname when nothing else says one.
pub fn node_name_from_hostname(hostname: &str) -> String {
    hostname.trim().to_lowercase()
}

/// Whether this can be the name of a resource: 1 to 253 characters, parts between dots, each of
/// lower-case letters, digits and dashes, with no dash at either end.
pub fn is_valid_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_valid_label)
}

/// Whether this can be the name of a namespace or of a tier: a name of at most 63 characters
/// without a dot.
pub fn is_valid_short_name(name: &str) -> bool {
    name.len() <= 63 && is_valid_label(name)
}

fn is_valid_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty()
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether an endpoint can have this container id: letters, digits and dashes, with no dash at
/// either end. CNI itself also allows `_` and `.`.
pub fn is_valid_container_id(id: &str) -> bool {
    !id.is_empty()
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !id.starts_with('-')
        && !id.ends_with('-')
}

/// Whether an endpoint can have this interface: 1 to 15 of `a-z A-Z 0-9 _ . -`, or `*`.
pub fn is_valid_interface_name(name: &str) -> bool {
    name == "*" || (1..=15).contains(&name.len()) && name.bytes().all(is_word_byte)
}

/// Whether a network can have this name: letters, digits, `_`, `.` and `-`.
pub fn is_valid_network_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_word_byte)
}

fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')
}
