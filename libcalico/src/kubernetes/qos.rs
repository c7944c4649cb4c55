//! Limits of bandwidth, packets and connections out of a pod's annotations
//! (`reference/cni-plugin.md` section 6.3).
//!
//! A wrong value never keeps a pod from its network: it is left out, or drawn to its limit, with a
//! warning.

use serde_json::{Map, Value};

use super::annotation::{Annotations, excerpt};
use super::quantity;
use crate::resources::Extra;

/// The name that the Bandwidth plugin of CNI knows too.
const KUBERNETES_INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const KUBERNETES_EGRESS: &str = "kubernetes.io/egress-bandwidth";
const DSCP: &str = "qos.projectcalico.org/dscp";

const BANDWIDTH: Limits = (1_000, 1_000_000_000_000_000);
const BURST: Limits = (1_000, 34_359_738_360);
const PEAKRATE: Limits = (1_010, 1_010_000_000_000_000);
const MINBURST: Limits = (1_000, 100_000_000);
const PACKETS: Limits = (1, 10_000);
const CONNECTIONS: Limits = (1, 4_294_967_295);

/// The burst of a bandwidth that has none.
const DEFAULT_BURST: i64 = 4_294_967_296;
/// The burst of a packet rate that has none.
const DEFAULT_PACKET_BURST: i64 = 5;

/// The least and the most.
type Limits = (i64, i64);

/// The annotations of one direction.
struct Names {
    direction: &'static str,
    kubernetes: &'static str,
    bandwidth: &'static str,
    burst: &'static str,
    peakrate: &'static str,
    minburst: &'static str,
    packet_rate: &'static str,
    packet_burst: &'static str,
    max_connections: &'static str,
}

const INGRESS: Names = Names {
    direction: "ingress",
    kubernetes: KUBERNETES_INGRESS,
    bandwidth: "qos.projectcalico.org/ingressBandwidth",
    burst: "qos.projectcalico.org/ingressBurst",
    peakrate: "qos.projectcalico.org/ingressPeakrate",
    minburst: "qos.projectcalico.org/ingressMinburst",
    packet_rate: "qos.projectcalico.org/ingressPacketRate",
    packet_burst: "qos.projectcalico.org/ingressPacketBurst",
    max_connections: "qos.projectcalico.org/ingressMaxConnections",
};

const EGRESS: Names = Names {
    direction: "egress",
    kubernetes: KUBERNETES_EGRESS,
    bandwidth: "qos.projectcalico.org/egressBandwidth",
    burst: "qos.projectcalico.org/egressBurst",
    peakrate: "qos.projectcalico.org/egressPeakrate",
    minburst: "qos.projectcalico.org/egressMinburst",
    packet_rate: "qos.projectcalico.org/egressPacketRate",
    packet_burst: "qos.projectcalico.org/egressPacketBurst",
    max_connections: "qos.projectcalico.org/egressMaxConnections",
};

/// The limits of one direction; 0 is none.
#[derive(Default)]
struct Controls {
    bandwidth: i64,
    burst: i64,
    peakrate: i64,
    minburst: i64,
    packet_rate: i64,
    packet_burst: i64,
    max_connections: i64,
}

/// Code points that have a name; an endpoint keeps the name.
const CODE_POINTS: [&str; 21] = [
    "DF", "EF", "AF11", "AF12", "AF13", "AF21", "AF22", "AF23", "AF31", "AF32", "AF33", "AF41",
    "AF42", "AF43", "CS0", "CS1", "CS2", "CS3", "CS4", "CS5", "CS6",
];

/// The `qosControls` of an endpoint: none if nothing is limited. What is wrong goes to `warnings`.
pub(super) fn controls(annotations: Annotations<'_>, warnings: &mut Vec<String>) -> Option<Extra> {
    let mut reader = Reader { annotations, warnings };
    let ingress = reader.direction(&INGRESS);
    let egress = reader.direction(&EGRESS);
    let mut fields = Map::new();
    // In upstream's order.
    for (name, value) in [
        ("ingressBandwidth", ingress.bandwidth),
        ("ingressBurst", ingress.burst),
        ("ingressPeakrate", ingress.peakrate),
        ("ingressMinburst", ingress.minburst),
        ("egressBandwidth", egress.bandwidth),
        ("egressBurst", egress.burst),
        ("egressPeakrate", egress.peakrate),
        ("egressMinburst", egress.minburst),
        ("ingressPacketRate", ingress.packet_rate),
        ("ingressPacketBurst", ingress.packet_burst),
        ("egressPacketRate", egress.packet_rate),
        ("egressPacketBurst", egress.packet_burst),
        ("ingressMaxConnections", ingress.max_connections),
        ("egressMaxConnections", egress.max_connections),
    ] {
        if value != 0 {
            fields.insert(name.to_owned(), value.into());
        }
    }
    if let Some(code_point) = reader.code_point() {
        fields.insert("dscp".to_owned(), code_point);
    }
    Some(fields).filter(|fields| !fields.is_empty())
}

struct Reader<'a> {
    annotations: Annotations<'a>,
    warnings: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn direction(&mut self, names: &Names) -> Controls {
        let bandwidth = match self.number(names.bandwidth, BANDWIDTH) {
            Some(bandwidth) => bandwidth,
            None => self.number(names.kubernetes, BANDWIDTH).unwrap_or_default(),
        };
        let mut number = |name, limits| self.number(name, limits).unwrap_or_default();
        let mut read = Controls {
            bandwidth,
            burst: number(names.burst, BURST),
            peakrate: number(names.peakrate, PEAKRATE),
            minburst: number(names.minburst, MINBURST),
            packet_rate: number(names.packet_rate, PACKETS),
            packet_burst: number(names.packet_burst, PACKETS),
            max_connections: number(names.max_connections, CONNECTIONS),
        };
        let direction = names.direction;
        let mut needs = |value: &mut i64, fits: bool, what: &str, need: &str| {
            if *value != 0 && !fits {
                self.warnings.push(format!("{direction} {what} is left out: it needs {need}"));
                *value = 0;
            }
        };
        needs(&mut read.burst, bandwidth != 0, "burst", "a bandwidth");
        let above = bandwidth != 0 && read.peakrate > bandwidth;
        needs(&mut read.peakrate, above, "peakrate", "a bandwidth, which must be less");
        needs(&mut read.minburst, read.peakrate != 0, "minburst", "a peakrate");
        needs(&mut read.packet_burst, read.packet_rate != 0, "packet burst", "a packet rate");
        if bandwidth != 0 && read.burst == 0 {
            read.burst = DEFAULT_BURST;
        }
        if read.packet_rate != 0 && read.packet_burst == 0 {
            read.packet_burst = DEFAULT_PACKET_BURST;
        }
        read
    }

    /// A number, drawn to its limits; 0 if the annotation says none.
    fn number(&mut self, name: &'static str, (least, most): Limits) -> Option<i64> {
        let text = self.annotations.raw(name)?;
        let Some(number) = quantity::parse(text) else {
            let text = excerpt(text);
            self.warnings.push(format!("{name} is {text:?}, which is no quantity: it is left out"));
            return Some(0);
        };
        let drawn = number.clamp(least, most);
        if drawn != number {
            self.warnings
                .push(format!("{name} is {text}, beyond {least} to {most}: {drawn} is taken"));
        }
        Some(drawn)
    }

    /// The code point of what the pod sends: a number, or its name as it is written.
    fn code_point(&mut self) -> Option<Value> {
        let text = self.annotations.raw(DSCP)?;
        if let Ok(number @ 0..=63) = text.parse::<u8>() {
            return Some(number.into());
        }
        if CODE_POINTS.iter().any(|name| name.eq_ignore_ascii_case(text)) {
            return Some(text.into());
        }
        let text = excerpt(text);
        self.warnings.push(format!(
            "{DSCP} is {text:?}, which is no number from 0 to 63 and no name like AF11: it is left \
             out"
        ));
        None
    }
}

#[cfg(test)]
mod tests;
