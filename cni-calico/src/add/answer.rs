//! What ADD answers.

use std::path::Path;

use cni::{AddResult, Interface, IpConfig, Request};
use ipnet::IpNet;

use super::Attached;

impl Attached {
    /// The answer: our interfaces and addresses behind those of the plugins before us.
    pub(super) fn result(
        self,
        request: &Request,
        previous: AddResult,
        dns: &cni::Dns,
    ) -> AddResult {
        let mut result = previous;
        let first = result.interfaces.len();
        let sandbox = request.netns.as_deref().unwrap_or(Path::new(""));
        let container = Interface {
            name: request.ifname.clone(),
            mac: self.mac.to_string(),
            mtu: Some(self.mtu),
            sandbox: sandbox.to_string_lossy().into_owned(),
            ..Interface::default()
        };
        let host = Interface {
            name: self.host.name,
            mac: self.host.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            mtu: Some(self.host.mtu),
            ..Interface::default()
        };
        result.interfaces.extend([host, container]);
        result.ips.extend(self.addresses.iter().map(|address| IpConfig {
            interface: Some(first + 1),
            ..IpConfig::new(IpNet::from(*address))
        }));
        result.routes.extend(self.routes);
        for dns in [&self.dns, dns] {
            if result.dns.is_empty() {
                result.dns = dns.clone();
            }
        }
        result
    }
}
