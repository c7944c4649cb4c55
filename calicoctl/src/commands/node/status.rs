//! `calicoctl node status`: this node's BGP sessions (`reference/calicoctl.md` section 8.1).
//!
//! BIRD 1.6 is two daemons with a socket each; BIRD 2 is one, whose socket tells of both families.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::bird::table::{Peer, Table};
use super::bird::{self, BirdError};
use super::processes::Processes;
use crate::commands::Outcome;
use crate::output::bordered::{Align, Bordered};

/// What is known of the sessions of a family.
enum Sessions {
    /// Its daemon answered.
    Peers(Vec<Peer>),
    /// Its daemon doesn't run.
    NoDaemon,
    /// Its daemon can't be asked.
    Failed(BirdError),
}

/// Prints the state of the sessions.
pub fn run() -> Outcome {
    let processes = Processes::running().context("failed to list the processes in /proc")?;
    if !processes.has_felix() {
        bail!("Calico process is not running.");
    }
    let [v4, v6] = ask(&processes);
    let mut out = io::stdout().lock();
    writeln!(out, "Calico process is running.")?;
    if let (Sessions::NoDaemon, Sessions::NoDaemon) = (&v4, &v6) {
        writeln!(out, "\nThe BGP backend process (BIRD) is not running.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let all = [(4, "bird", v4), (6, "bird6", v6)];
    let could_be_read = all.iter().any(|(_, _, sessions)| matches!(sessions, Sessions::Peers(_)));
    for (version, program, sessions) in &all {
        out.write_all(section(*version, program, sessions).as_bytes())?;
    }
    writeln!(out)?;
    Ok(if could_be_read { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sessions of IPv4 and of IPv6.
fn ask(processes: &Processes) -> [Sessions; 2] {
    let of = |answer: Result<Table, BirdError>, is_v6: bool| match answer {
        Ok(table) => {
            Sessions::Peers(table.peers.into_iter().filter(|peer| peer.is_v6 == is_v6).collect())
        }
        Err(error) => Sessions::Failed(error),
    };
    let v4 = processes.has_bird("bird").then(|| bird::ask("BIRDv4", "bird.ctl"));
    let v6 = match (processes.has_bird("bird6"), &v4) {
        (true, _) => Some(bird::ask("BIRDv6", "bird6.ctl")),
        (false, Some(Ok(table))) if table.has_both_families => Some(Ok(table.clone())),
        (false, _) => None,
    };
    [(v4, false), (v6, true)].map(|(answer, is_v6)| match answer {
        Some(answer) => of(answer, is_v6),
        None => Sessions::NoDaemon,
    })
}

/// What is printed of a family.
fn section(version: u8, program: &str, sessions: &Sessions) -> String {
    let heading = format!("\nIPv{version} BGP status\n");
    match sessions {
        Sessions::NoDaemon => {
            format!("\nINFO: BIRDv{version} process: '{program}' is not running.\n")
        }
        Sessions::Failed(error) => format!("{heading}Error querying BIRD: {error}\n"),
        Sessions::Peers(peers) if peers.is_empty() => {
            format!("{heading}No IPv{version} peers found.\n")
        }
        Sessions::Peers(peers) => {
            let headings = ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"];
            let mut table = Bordered::new(headings).headings(Align::Centre);
            for peer in peers.iter().cloned() {
                let Peer { address, kind, state, since, info, .. } = peer;
                table.row([address, kind.to_owned(), state, since, info]);
            }
            format!("{heading}{table}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_printed_as_in_the_sheet() {
        let peer = |address: &str, kind, state: &str, since: &str, info: &str| Peer {
            is_v6: false,
            address: address.to_owned(),
            kind,
            state: state.to_owned(),
            since: since.to_owned(),
            info: info.to_owned(),
        };
        let peers = vec![
            peer("172.17.8.102", "node-to-node mesh", "up", "23:30:04", "Established"),
            peer("10.20.30.40", "global", "start", "16:28:38", "Connect"),
            peer("192.10.0.0", "node specific", "start", "16:28:57", "Connect"),
        ];
        let expected = "
IPv4 BGP status
+--------------+-------------------+-------+----------+-------------+
| PEER ADDRESS |     PEER TYPE     | STATE |  SINCE   |    INFO     |
+--------------+-------------------+-------+----------+-------------+
| 172.17.8.102 | node-to-node mesh | up    | 23:30:04 | Established |
| 10.20.30.40  | global            | start | 16:28:38 | Connect     |
| 192.10.0.0   | node specific     | start | 16:28:57 | Connect     |
+--------------+-------------------+-------+----------+-------------+
";
        assert_eq!(section(4, "bird", &Sessions::Peers(peers)), expected);
        let none = "\nIPv6 BGP status\nNo IPv6 peers found.\n";
        assert_eq!(section(6, "bird6", &Sessions::Peers(Vec::new())), none);
        let absent = "\nINFO: BIRDv6 process: 'bird6' is not running.\n";
        assert_eq!(section(6, "bird6", &Sessions::NoDaemon), absent);
    }
}
