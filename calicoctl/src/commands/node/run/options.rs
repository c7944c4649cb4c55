//! What the flags and the environment say, checked (`reference/bgp-node.md` section 6,
//! `reference/calicoctl.md` section 8.4). A flag wins over its variable; an empty one is none.

use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::resources::EncapMode;
use libcalico::resources::node::AsNumber;
use serde_json::json;

use super::detect::Method;

/// An option that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {value:?} {reason}")]
pub struct OptionError {
    /// The flag and its variable.
    pub name: String,
    /// As it was written.
    pub value: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// What is wanted of a family's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The stored one.
    Keep,
    /// One that is looked for at every start.
    Autodetect,
    /// None.
    Nothing,
    /// This one, with the prefix of the interface that has it.
    Address(IpAddr),
    /// This one.
    Net(IpNet),
}

/// What is wanted of the default pool of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolOptions {
    /// Its range; none for one that is chosen.
    pub cidr: Option<IpNet>,
    /// Its blocks' prefix length; 0 for the default.
    pub block_size: i64,
    /// When packets travel in IPIP.
    pub ipip: EncapMode,
    /// When packets travel in VXLAN.
    pub vxlan: EncapMode,
    /// Whether packets that leave the pools get the node's address.
    pub nat_outgoing: bool,
    /// The nodes that may take from it.
    pub node_selector: String,
    /// Whether BGP keeps quiet about it.
    pub disable_bgp_export: bool,
}

/// All that is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// The addresses, of IPv4 and of IPv6.
    pub wanted: [Wanted; 2],
    /// How they are looked for.
    pub methods: [Method; 2],
    /// The node's own AS number.
    pub as_number: Option<AsNumber>,
    /// Whether the node takes part in BGP, or in a network of VXLAN: whether it needs an address.
    pub has_network: bool,
    /// The default pools, of IPv4 and of IPv6; none where there shall be none.
    pub pools: [Option<PoolOptions>; 2],
    /// What Kubernetes calls the node.
    pub k8s_node: Option<String>,
    /// What the cluster is made of: a list with commas.
    pub cluster_type: Vec<String>,
    /// Whether another node may have the address.
    pub may_share_addresses: bool,
    /// Whether to wait for a datastore that is away.
    pub waits: bool,
}

/// The flags that have a variable.
#[derive(Debug, Clone, Default)]
pub struct Flags<'a> {
    /// `--ip`
    pub ip: Option<&'a str>,
    /// `--ip6`
    pub ip6: Option<&'a str>,
    /// `--as`
    pub as_number: Option<&'a str>,
    /// `--ip-autodetection-method`
    pub ip_method: Option<&'a str>,
    /// `--ip6-autodetection-method`
    pub ip6_method: Option<&'a str>,
    /// `--backend`
    pub backend: Option<&'a str>,
    /// `--no-default-ippools`
    pub no_default_pools: bool,
}

/// A reader of variables.
struct Reader<F>(F);

impl Options {
    /// Reads the flags and, through `lookup`, the environment.
    pub fn read(
        flags: &Flags<'_>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Options, OptionError> {
        let reader = Reader(lookup);
        let ip = reader.text("--ip", flags.ip, "IP");
        let ip6 = reader.text("--ip6", flags.ip6, "IP6");
        let method = |flag, value, variable| {
            let (name, value) = reader.text(flag, value, variable);
            Method::parse(&value).map_err(|error| refuse(name, &value, &error.to_string()))
        };
        let no_pools = flags.no_default_pools || reader.switch("NO_DEFAULT_POOLS", false)?;
        let pools = match no_pools {
            true => [None, None],
            false => [reader.pool(4)?, reader.pool(6)?],
        };
        Ok(Options {
            wanted: [wanted(ip, false)?, wanted(ip6, true)?],
            methods: [
                method("--ip-autodetection-method", flags.ip_method, "IP_AUTODETECTION_METHOD")?,
                method("--ip6-autodetection-method", flags.ip6_method, "IP6_AUTODETECTION_METHOD")?,
            ],
            as_number: reader.as_number(flags.as_number)?,
            has_network: reader.has_network(flags.backend)?,
            pools,
            k8s_node: reader.get("CALICO_K8S_NODE_REF"),
            cluster_type: reader.list("CLUSTER_TYPE"),
            may_share_addresses: reader.switch("DISABLE_NODE_IP_CHECK", false)?,
            waits: reader.switch("WAIT_FOR_DATASTORE", false)?,
        })
    }
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn get(&self, variable: &str) -> Option<String> {
        (self.0)(variable).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The value of a flag or else of its variable, and which of them it is of.
    fn text(&self, flag: &str, value: Option<&str>, variable: &str) -> (String, String) {
        match value.map(str::trim).filter(|value| !value.is_empty()) {
            Some(value) => (flag.to_owned(), value.to_owned()),
            None => (variable.to_owned(), self.get(variable).unwrap_or_default()),
        }
    }

    fn switch(&self, variable: &str, default: bool) -> Result<bool, OptionError> {
        let Some(text) = self.get(variable) else { return Ok(default) };
        match text.to_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err(refuse(variable, &text, "is neither true nor false")),
        }
    }

    fn list(&self, variable: &str) -> Vec<String> {
        let text = self.get(variable).unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    }

    fn as_number(&self, flag: Option<&str>) -> Result<Option<AsNumber>, OptionError> {
        let (name, text) = self.text("--as", flag, "AS");
        if text.is_empty() {
            return Ok(None);
        }
        let number = serde_json::from_value(json!(text));
        number.map(Some).map_err(|_| refuse(name, &text, "is no AS number: write 64512 or 1.10"))
    }

    fn has_network(&self, flag: Option<&str>) -> Result<bool, OptionError> {
        let (name, text) = self.text("--backend", flag, "CALICO_NETWORKING_BACKEND");
        match text.as_str() {
            "" | "bird" | "vxlan" => Ok(true),
            "none" => Ok(false),
            "gobgp" => Err(refuse(name, &text, "ended with Calico 3.0: use bird or none")),
            _ => Err(refuse(name, &text, "is unknown: use bird or none")),
        }
    }

    /// The default pool of a family; none where that is what is wanted.
    fn pool(&self, version: u8) -> Result<Option<PoolOptions>, OptionError> {
        let variable = |end: &str| format!("CALICO_IPV{version}POOL_{end}");
        let cidr = variable("CIDR");
        let net = match self.get(&cidr) {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("none") => return Ok(None),
            Some(text) => {
                let net = text.parse::<IpNet>().ok();
                let net = net.filter(|net| net.addr().is_ipv6() == (version == 6));
                let reason = format!("is no IPv{version} CIDR, and not none");
                Some(net.ok_or_else(|| refuse(cidr, &text, &reason))?)
            }
        };
        let size = variable("BLOCK_SIZE");
        let block_size = match self.get(&size) {
            None => 0,
            Some(text) => text.parse().map_err(|_| refuse(size, &text, "is no number"))?,
        };
        // IPv6 knows no IPIP.
        let ipip = if version == 4 { self.mode(&variable("IPIP"))? } else { EncapMode::Never };
        let vxlan = self.mode(&variable("VXLAN"))?;
        if ipip != EncapMode::Never && vxlan != EncapMode::Never {
            let reason = "and VXLAN exclude one another: set one of them to Never";
            return Err(refuse(variable("IPIP"), "", reason));
        }
        Ok(Some(PoolOptions {
            cidr: net,
            block_size,
            ipip,
            vxlan,
            nat_outgoing: self.switch(&variable("NAT_OUTGOING"), version == 4)?,
            node_selector: self.get(&variable("NODE_SELECTOR")).unwrap_or_default(),
            disable_bgp_export: self.switch(&variable("DISABLE_BGP_EXPORT"), false)?,
        }))
    }

    fn mode(&self, variable: &str) -> Result<EncapMode, OptionError> {
        let text = self.get(variable).unwrap_or_default();
        match text.to_lowercase().as_str() {
            "" | "never" | "off" => Ok(EncapMode::Never),
            "always" => Ok(EncapMode::Always),
            "crosssubnet" | "cross-subnet" => Ok(EncapMode::CrossSubnet),
            _ => Err(refuse(variable, &text, "is none of Always, CrossSubnet, Never")),
        }
    }
}

fn wanted((name, text): (String, String), is_v6: bool) -> Result<Wanted, OptionError> {
    let is_family = |address: IpAddr| address.is_ipv6() == is_v6;
    match text.as_str() {
        "" => return Ok(Wanted::Keep),
        "autodetect" => return Ok(Wanted::Autodetect),
        "none" => return Ok(Wanted::Nothing),
        _ => {}
    }
    if let Some(address) = text.parse().ok().filter(|address| is_family(*address)) {
        return Ok(Wanted::Address(address));
    }
    if let Some(net) = text.parse::<IpNet>().ok().filter(|net| is_family(net.addr())) {
        return Ok(Wanted::Net(net));
    }
    let version = if is_v6 { 6 } else { 4 };
    let reason = format!("is no IPv{version} address: write one, autodetect or none");
    Err(refuse(name, &text, &reason))
}

fn refuse(name: impl Into<String>, value: &str, reason: &str) -> OptionError {
    OptionError { name: name.into(), value: value.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
