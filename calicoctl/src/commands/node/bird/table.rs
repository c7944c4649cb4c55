//! BIRD's table of protocols, of the 1.6 fork and of stock BIRD 2
//! (`reference/bgp-node.md` section 5).
//!
//! The addresses and kinds of the peers are hidden in the names of their protocols: `Mesh_10_0_0_2`
//! and `Global_fd00__9_port_1790`. The family is read from the name, too, as BIRD 2 has both in one
//! table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The headings of the table, in any case.
const HEADINGS: [&str; 6] = ["name", "proto", "table", "state", "since", "info"];

/// What BIRD answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Its peers, in its order.
    pub peers: Vec<Peer>,
    /// Whether one daemon speaks both families: BIRD 2 and later.
    pub has_both_families: bool,
}

/// A BGP session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whether its address is one of IPv6.
    pub is_v6: bool,
    /// Its address, with the port where the name has one.
    pub address: String,
    /// Why it is a peer.
    pub kind: &'static str,
    /// The protocol's state: `up`, `start`, `down`.
    pub state: String,
    /// Since when, to the second.
    pub since: String,
    /// The session's state and its last error; may be empty.
    pub info: String,
}

/// An answer that is no table of protocols.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TableError {
    #[error("unknown BIRD table output format: {0:?}")]
    Heading(String),
    #[error("unexpected output line from BIRD: {0:?}")]
    Line(String),
}

/// Whether this line ends an answer: its end, or a failure.
pub fn is_last(line: &str) -> bool {
    line.starts_with("0000") || line.starts_with('8') || line.starts_with('9')
}

impl Table {
    /// Reads the lines of an answer to `show protocols`.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Table, TableError> {
        let mut table = Table::default();
        for line in lines {
            match line.get(..4) {
                Some("0001") => table.has_both_families = major_version(line) >= 2,
                Some("0000") => break,
                Some("2002") => check_heading(line)?,
                Some("1002") => table.peers.extend(peer(line.get(5..).unwrap_or_default())),
                _ if line.is_empty() || line.starts_with(' ') => table.peers.extend(peer(line)),
                _ => return Err(TableError::Line(line.to_owned())),
            }
        }
        Ok(table)
    }
}

/// The version in the greeting: `0001 BIRD 2.0.12 ready.`, `0001 BIRD v0.3.3+birdv1.6.8 ready.`
fn major_version(greeting: &str) -> u32 {
    let version = greeting.split_whitespace().nth(2).unwrap_or_default();
    let version = version.rsplit_once("birdv").map_or(version, |(_, version)| version);
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(1)
}

fn check_heading(line: &str) -> Result<(), TableError> {
    let headings = line.get(5..).unwrap_or_default();
    match headings.split_whitespace().map(str::to_lowercase).eq(HEADINGS) {
        true => Ok(()),
        false => Err(TableError::Heading(line.to_owned())),
    }
}

/// The peer in a row, if it is one of Calico's. A passive one that was never met has no info.
fn peer(row: &str) -> Option<Peer> {
    let mut fields = row.split_whitespace().peekable();
    let (name, protocol) = (fields.next()?, fields.next()?);
    if protocol != "BGP" {
        return None;
    }
    let (kind, hidden) = name.split_once('_')?;
    let kind = match kind {
        "Global" => "global",
        "Node" => "node specific",
        "Mesh" => "node-to-node mesh",
        _ => return None,
    };
    let (is_v6, address) = unhide(hidden);
    let (_table, state, since) = (fields.next()?, fields.next()?, fields.next()?);
    let mut since = to_the_second(since).to_owned();
    // BIRD 2 may be told to print dates with times.
    if let (true, Some(time)) = (is_date(&since), fields.next_if(|field| is_time(field))) {
        since = format!("{since} {}", to_the_second(time));
    }
    let info = fields.collect::<Vec<_>>().join(" ");
    Some(Peer { is_v6, address, kind, state: state.to_owned(), since, info })
}

/// The address that a protocol's name hides, and whether it is one of IPv6.
fn unhide(hidden: &str) -> (bool, String) {
    let (hidden, port) = match hidden.rsplit_once("_port_") {
        Some((address, port)) => (address, port.parse::<u16>().ok()),
        None => (hidden, None),
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_v4 = hidden.split('_').count() == 4 && hidden.split('_').all(is_number);
    let text = hidden.replace('_', if is_v4 { "." } else { ":" });
    let parsed: Option<IpAddr> = match is_v4 {
        true => text.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        false => text.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
    };
    let address = match (parsed, port) {
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        (None, Some(port)) => format!("{text}:{port}"),
        (_, None) => text,
    };
    (!is_v4, address)
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

fn is_time(text: &str) -> bool {
    let text = to_the_second(text);
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit() || b == b':')
}

fn to_the_second(time: &str) -> &str {
    match time.split_once('.') {
        Some((seconds, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => seconds,
        _ => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        Table::parse(text.lines()).unwrap()
    }

    fn row(peer: &Peer) -> [&str; 5] {
        [&peer.address, peer.kind, &peer.state, &peer.since, &peer.info]
    }

    #[test]
    fn the_table_of_the_fork() {
        let table = table(
            "0001 BIRD v0.3.3+birdv1.6.8 ready.\n\
             2002-name     proto    table    state  since       info\n\
             1002-static1  Static   master   up     23:29:55    \n \
             kernel1  Kernel   master   up     23:29:55    \n \
             device1  Device   master   up     23:29:55    \n \
             direct1  Direct   master   up     23:29:55    \n \
             Mesh_172_17_8_102 BGP      master   up     23:30:04    Established   \n \
             Global_10_20_30_40 BGP      master   start  16:28:38    Connect       Socket: Connection reset by peer\n \
             Node_192_10_0_0 BGP      master   start  2016-11-21  \n \
             Local_Workload_10_65_0_2 BGP master start 16:28:57 Passive\n\
             0000 \n",
        );
        assert!(!table.has_both_families);
        let rows: Vec<_> = table.peers.iter().map(row).collect();
        assert_eq!(
            rows,
            [
                ["172.17.8.102", "node-to-node mesh", "up", "23:30:04", "Established"],
                [
                    "10.20.30.40",
                    "global",
                    "start",
                    "16:28:38",
                    "Connect Socket: Connection reset by peer"
                ],
                ["192.10.0.0", "node specific", "start", "2016-11-21", ""],
            ]
        );
    }

    #[test]
    fn the_table_of_bird_2() {
        let table = table(
            "0001 BIRD 2.0.12 ready.\n\
             2002-Name       Proto      Table      State  Since         Info\n\
             1002-device1    Device     ---        up     19:05:14.061  \n \
             Mesh_127_0_0_9 BGP        ---        start  19:05:14.061  Passive       \n \
             Node_127_0_0_8_port_1790 BGP        ---        start  2026-11-20 19:05:14.061  Active\n \
             Global_fd00__2 BGP        ---        up  2026-11-20  Established\n \
             Node_fd00_1_2_3_4_5_6_7_port_179 BGP --- start 19:05:14.061 Idle BGP Error: Bad peer AS\n\
             0000 \n",
        );
        assert!(table.has_both_families);
        let rows: Vec<_> = table.peers.iter().map(row).collect();
        assert_eq!(
            rows,
            [
                ["127.0.0.9", "node-to-node mesh", "start", "19:05:14", "Passive"],
                ["127.0.0.8:1790", "node specific", "start", "2026-11-20 19:05:14", "Active"],
                ["fd00::2", "global", "up", "2026-11-20", "Established"],
                [
                    "[fd00:1:2:3:4:5:6:7]:179",
                    "node specific",
                    "start",
                    "19:05:14",
                    "Idle BGP Error: Bad peer AS"
                ],
            ]
        );
        assert_eq!(
            table.peers.iter().map(|p| p.is_v6).collect::<Vec<_>>(),
            [false, false, true, true]
        );
    }

    #[test]
    fn families_are_told_by_the_names() {
        for (hidden, is_v6, address) in [
            ("10_0_0_1", false, "10.0.0.1"),
            ("10_0_0_1_port_80", false, "10.0.0.1:80"),
            ("1__2_3", true, "1::2:3"),
            ("aa_bb__ff", true, "aa:bb::ff"),
            ("fd00__1_port_1", true, "[fd00::1]:1"),
            ("__1", true, "::1"),
        ] {
            assert_eq!(unhide(hidden), (is_v6, address.to_owned()), "{hidden}");
        }
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let heading = Table::parse(["0001 BIRD 2.0.12 ready.", "2002-Name Proto State"]);
        assert_eq!(heading, Err(TableError::Heading("2002-Name Proto State".into())));
        let line = Table::parse(["0001 BIRD 2.0.12 ready.", "9001 syntax error"]);
        assert_eq!(line, Err(TableError::Line("9001 syntax error".into())));
        for text in ["", "0001", "1002", "2", "€€"] {
            let _ = Table::parse([text]);
        }
    }
}
