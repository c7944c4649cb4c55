//! IPReservation: addresses that are never given out by themselves
//! (`reference/datamodel.md` section 7.2).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::codec::null_as_default;
use super::resource::{Resource, Spec};
use super::validation::FieldErrors;
use super::{Extra, Kind};

/// Reserved addresses.
pub type IpReservation = Resource<IpReservationSpec>;

/// The addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpReservationSpec {
    /// Ranges, as stored: with host bits if they had any.
    #[serde(
        rename = "reservedCIDRs",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reserved_cidrs: Vec<String>,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Spec for IpReservationSpec {
    const KIND: Kind = Kind::IpReservation;
    type Status = Extra;

    fn validate(new: &IpReservation, _old: Option<&IpReservation>, errors: &mut FieldErrors) {
        for (at, cidr) in new.spec.reserved_cidrs.iter().enumerate() {
            if cidr.parse::<IpNet>().is_err() {
                errors.add(format!("spec.reservedCIDRs[{at}]"), cidr, "must be a CIDR");
            }
        }
    }
}

impl IpReservationSpec {
    /// The ranges, masked. Blanks around an entry and bare addresses are taken, what else is no
    /// CIDR is left out: older releases stored such.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.reserved_cidrs.iter().filter_map(|text| {
            let text = text.trim();
            let bare = || text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>().ok().or_else(bare).map(|net| net.trunc())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_spellings_are_read() {
        let cidrs = [" 10.65.0.9 ", "10.65.1.7/24", "FD00:65::1:0/120", "junk", ""];
        let spec = IpReservationSpec {
            reserved_cidrs: cidrs.map(str::to_owned).to_vec(),
            ..IpReservationSpec::default()
        };
        let nets: Vec<String> = spec.nets().map(|net| net.to_string()).collect();
        assert_eq!(nets, ["10.65.0.9/32", "10.65.1.0/24", "fd00:65::1:0/120"]);
    }
}
