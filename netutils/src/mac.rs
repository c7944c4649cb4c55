//! Hardware addresses of Ethernet interfaces.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The bit of the first octet that marks an address of local administration.
const LOCAL: u8 = 0x02;
/// The bit of the first octet that marks a group's address.
const GROUP: u8 = 0x01;

/// A 48-bit hardware address, written `ee:ee:ee:ee:ee:ee`.
///
/// Reads the three notations in use: `01:23:45:67:89:ab`, `01-23-45-67-89-ab`, `0123.4567.89ab`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address made of these octets.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// A random unicast address of local administration.
    pub fn random() -> Self {
        let mut octets: [u8; 6] = rand::random();
        octets[0] = (octets[0] | LOCAL) & !GROUP;
        Self(octets)
    }

    /// The six octets, in the order of transmission.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether an interface may bear this address: neither a group's nor all zero.
    pub fn is_assignable(self) -> bool {
        self.0[0] & GROUP == 0 && self.0 != [0; 6]
    }

    /// The link-local address that the kernel derives from this one (EUI-64): `ff:fe` goes into the
    /// middle, and the bit of local administration is flipped.
    pub fn eui64_link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ LOCAL, b, c, 0xff, 0xfe, d, e, f])
    }
}

impl From<[u8; 6]> for Mac {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl TryFrom<&[u8]> for Mac {
    type Error = std::array::TryFromSliceError;

    fn try_from(octets: &[u8]) -> Result<Self, Self::Error> {
        octets.try_into().map(Self)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// The text is no hardware address of 48 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a hardware address; write it like 01:23:45:67:89:ab, 01-23-45-67-89-ab or 0123.4567.89ab"
)]
pub struct MacError {
    /// What was given.
    pub text: String,
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| MacError { text: text.to_owned() })
    }
}

/// The octets of `text`, whose groups all have one separator and one width.
fn parse(text: &str) -> Option<[u8; 6]> {
    let separator = text.chars().find(|c| [':', '-', '.'].contains(c))?;
    let digits_a_group = if separator == '.' { 4 } else { 2 };
    let mut digits = Vec::with_capacity(12);
    for group in text.split(separator) {
        if group.len() != digits_a_group {
            return None;
        }
        for digit in group.chars() {
            digits.push(u8::try_from(digit.to_digit(16)?).ok()?);
        }
    }
    let octets: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    octets.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_notations() {
        let expected = Mac::new([0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
        for text in ["01:23:45:67:89:ab", "01-23-45-67-89-AB", "0123.4567.89ab"] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "01:23:45:67:89:ab");
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            ":",
            "0123456789ab",
            "01:23:45:67:89",
            "01:23:45:67:89:ab:cd",
            "01:23:45:67:89:ab:cd:ef",
            "1:23:45:67:89:ab",
            "01:23:45:67:89:0ab",
            "01:23-45:67:89:ab",
            "0123.4567.89ab.cdef",
            "01:23:45:67:89:ag",
            "01:23:45:67:89:+b",
            " 01:23:45:67:89:ab",
            "01:23:45:67:89:é",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError { text: text.into() }), "{text}");
        }
    }

    #[test]
    fn random_addresses_are_local_unicast_and_differ() {
        let all: std::collections::BTreeSet<Mac> = (0..64).map(|_| Mac::random()).collect();
        assert_eq!(all.len(), 64);
        assert!(all.iter().all(|mac| mac.octets()[0] & (LOCAL | GROUP) == LOCAL));
        assert!(all.iter().all(|mac| mac.is_assignable()));
    }

    #[test]
    fn groups_and_zero_are_not_assignable() {
        assert!(!Mac::new([0; 6]).is_assignable());
        assert!(!Mac::new([0xff; 6]).is_assignable());
        assert!(!Mac::new([0x01, 0, 0x5e, 0, 0, 1]).is_assignable());
    }

    #[test]
    fn link_local_of_the_host_end() {
        let mac = Mac::new([0xee; 6]);
        assert_eq!(mac.eui64_link_local().to_string(), "fe80::ecee:eeff:feee:eeee");
    }
}
