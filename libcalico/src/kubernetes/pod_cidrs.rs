//! The ranges that Kubernetes gives a node for its pods (`reference/cni-plugin.md` section 3.4).

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::annotation::excerpt;
use super::object::Node;

/// A node's ranges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PodCidrs {
    /// The IPv4 range.
    pub v4: Option<Ipv4Net>,
    /// The IPv6 range.
    pub v6: Option<Ipv6Net>,
}

/// A node whose ranges can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PodCidrsError {
    #[error(
        "node {node} of Kubernetes has no spec.podCIDRs: the controller manager gives them with \
         --allocate-node-cidrs"
    )]
    None { node: String },
    #[error("node {node} of Kubernetes has {cidr:?} in spec.podCIDRs, which is no CIDR")]
    NoCidr { node: String, cidr: String },
    #[error(
        "node {node} of Kubernetes has several ranges of one family in spec.podCIDRs ({cidrs}): it \
         may have one of each"
    )]
    OneFamily { node: String, cidrs: String },
}

impl Node {
    /// Its pods' ranges.
    pub fn pod_cidrs(&self) -> Result<PodCidrs, PodCidrsError> {
        let node = || self.metadata.name.clone();
        let mut cidrs = PodCidrs::default();
        for text in &self.spec.pod_cidrs {
            // COMPAT: of several of a family the last one counts.
            match text.parse() {
                Ok(IpNet::V4(cidr)) => cidrs.v4 = Some(cidr),
                Ok(IpNet::V6(cidr)) => cidrs.v6 = Some(cidr),
                Err(_) => {
                    return Err(PodCidrsError::NoCidr { node: node(), cidr: excerpt(text) });
                }
            }
        }
        match self.spec.pod_cidrs.len() {
            0 => Err(PodCidrsError::None { node: node() }),
            2.. if cidrs.v4.is_none() || cidrs.v6.is_none() => {
                let cidrs = self.spec.pod_cidrs.join(", ");
                Err(PodCidrsError::OneFamily { node: node(), cidrs })
            }
            _ => Ok(cidrs),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(cidrs: serde_json::Value) -> Result<PodCidrs, PodCidrsError> {
        let node = json!({"metadata": {"name": "node-a1"}, "spec": {"podCIDRs": cidrs}});
        serde_json::from_value::<Node>(node).unwrap().pod_cidrs()
    }

    #[test]
    fn one_range_of_each_family() {
        let (v4, v6) = ("10.10.0.0/24", "dead:beef::/96");
        let (four, six) = (v4.parse().ok(), v6.parse().ok());
        // K6 and K11: a node with one range and with two.
        for (cidrs, expected) in [
            (json!([v4]), PodCidrs { v4: four, v6: None }),
            (json!([v6]), PodCidrs { v4: None, v6: six }),
            (json!([v4, v6]), PodCidrs { v4: four, v6: six }),
            (json!([v6, v4]), PodCidrs { v4: four, v6: six }),
            (json!(["10.9.0.0/24", v6, v4]), PodCidrs { v4: four, v6: six }),
        ] {
            assert_eq!(read(cidrs.clone()), Ok(expected), "{cidrs}");
        }
    }

    #[test]
    fn a_node_without_usable_ranges_is_named() {
        for (cidrs, wrong) in [
            (json!([]), "has no spec.podCIDRs"),
            (json!(null), "has no spec.podCIDRs"),
            (json!(["10.10.0.0"]), "\"10.10.0.0\""),
            (json!(["10.10.0.0/24", "nonsense"]), "\"nonsense\""),
            (json!(["10.10.0.0/24", "10.11.0.0/24"]), "10.10.0.0/24, 10.11.0.0/24"),
        ] {
            let error = read(cidrs.clone()).unwrap_err().to_string();
            assert!(error.contains("node-a1") && error.contains(wrong), "{cidrs}: {error}");
        }
    }
}
