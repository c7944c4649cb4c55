//! Which blocks the last addresses of a network came out of on this node, kept in the file of the
//! node's lock: whoever has the lock next looks there first, and reads one block together with
//! everything else, instead of all of the node's blocks after everything else.
//!
//! It is a hint. A block counts as it is stored, and only if it is the node's own; a file that is
//! lost, old or damaged costs one more read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ipnet::IpNet;
use libcalico::ipam::Assigned;

/// The most bytes that are read: some dozens of networks.
const MAX_BYTES: usize = 2048;
/// The most blocks that are kept, of all networks.
const MAX_BLOCKS: usize = 16;

/// The blocks of a network's last addresses.
pub fn blocks(lock: Option<&File>, network: &str) -> Vec<IpNet> {
    let text = lock.map(read).unwrap_or_default();
    lines(&text).filter(|(_, of)| *of == network).map(|(block, _)| block).collect()
}

/// Keeps the blocks of these addresses for the next one who has the lock.
pub fn keep(lock: Option<&File>, network: &str, assigned: &[Assigned]) {
    let Some(file) = lock else { return };
    let mut used: Vec<IpNet> = assigned.iter().filter_map(Assigned::block).collect();
    used.dedup();
    let text = read(file);
    let known: Vec<IpNet> =
        lines(&text).filter(|(_, of)| *of == network).map(|(block, _)| block).collect();
    if used.is_empty() || used == known || !is_ours(&text) {
        return;
    }
    let own = used.iter().map(|block| (*block, network));
    let others = lines(&text).filter(|(_, of)| *of != network);
    let new: String =
        own.chain(others).take(MAX_BLOCKS).map(|(block, of)| format!("{block} {of}\n")).collect();
    let written = file.set_len(0).and_then(|()| file.write_all_at(new.as_bytes(), 0));
    if let Err(error) = written {
        tracing::debug!("the blocks of the last addresses can't be kept: {error}");
    }
}

/// Whether a file that begins so may be written anew: a configuration may name any file as the lock.
fn is_ours(text: &str) -> bool {
    text.is_empty() || lines(text.lines().next().unwrap_or_default()).next().is_some()
}

/// A line is a block, a space and the name of its network.
fn lines(text: &str) -> impl Iterator<Item = (IpNet, &str)> {
    text.lines().filter_map(|line| {
        let (block, network) = line.split_once(' ')?;
        Some((block.parse().ok()?, network))
    })
}

fn read(file: &File) -> String {
    let mut bytes = vec![0; MAX_BYTES];
    let count: io::Result<usize> = file.read_at(&mut bytes, 0);
    bytes.truncate(count.unwrap_or(0));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn assigned(address: &str, block_prefix_len: u8) -> Assigned {
        let address: IpAddr = address.parse().unwrap();
        Assigned { address, block_prefix_len, pool: None, sequence_number: 0, reused: false }
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn each_network_finds_its_own_blocks() {
        let file = tempfile::tempfile().unwrap();
        let lock = Some(&file);
        assert!(blocks(lock, "net").is_empty() && blocks(None, "net").is_empty());
        keep(lock, "net", &[assigned("10.0.0.77", 26), assigned("fd00::77", 122)]);
        keep(lock, "net2", &[assigned("10.1.0.1", 26)]);
        assert_eq!(blocks(lock, "net"), nets(&["10.0.0.64/26", "fd00::40/122"]));
        keep(lock, "net", &[assigned("10.0.0.200", 26)]);
        assert_eq!(blocks(lock, "net"), nets(&["10.0.0.192/26"]));
        assert_eq!(blocks(lock, "net2"), nets(&["10.1.0.0/26"]));
        // Nothing was assigned: what was known stays.
        keep(lock, "net", &[]);
        assert_eq!(blocks(lock, "net"), nets(&["10.0.0.192/26"]));
    }

    #[test]
    fn what_is_no_block_is_passed_over() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(
            b"\xff\xfe net\n10.0.0.0/26\nhello net\n10.0.0.0/99 net\n10.2.0.0/26 net",
            0,
        )
        .unwrap();
        assert_eq!(blocks(Some(&file), "net"), nets(&["10.2.0.0/26"]));
    }

    #[test]
    fn a_file_of_somebody_else_stays_as_it_is() {
        for theirs in ["root:x:0:0::/root:/bin/sh\n10.0.0.0/26 net\n", "\0", "\n", "{}"] {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(theirs.as_bytes(), 0).unwrap();
            keep(Some(&file), "net", &[assigned("10.1.0.1", 26)]);
            assert_eq!(read(&file), theirs);
        }
    }

    #[test]
    fn it_stays_small() {
        let file = tempfile::tempfile().unwrap();
        for number in 0..100 {
            keep(Some(&file), &format!("net{number}"), &[assigned("10.0.0.1", 26)]);
        }
        assert_eq!(read(&file).lines().count(), MAX_BLOCKS);
        assert_eq!(blocks(Some(&file), "net99"), nets(&["10.0.0.0/26"]));
        assert!(blocks(Some(&file), "net0").is_empty());
    }
}
