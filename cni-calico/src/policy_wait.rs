//! Waiting until Felix says that a pod's policy is in the kernel (`reference/cni-plugin.md` section
//! 3.10): `policy_setup_timeout_seconds`.
//!
//! Felix writes a file for each endpoint that is up. One may be there already, of a former sandbox
//! of the pod: only a file that came after the ADD began counts, and its content must be about this
//! very interface. It is Felix' own, so it is never removed: Felix remembers what it wrote. That it
//! doesn't come in time is no failure.

mod folder;

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cni_ipam::run::Deadline;
use ipnet::IpNet;
use libcalico::names::{self, NameError};
use netutils::Mac;
use serde::Deserialize;

use folder::FolderWatch;

/// Where Felix writes, unless it is told otherwise.
const FOLDER: &str = "/var/run/calico/endpoint-status";
/// How long before its end the verb stops waiting, since what it made is good without Felix too.
const RESERVE: Duration = Duration::from_secs(1);
/// How long to wait before the next look where the folder can't be watched.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a file that is empty may still be in the hands of who writes it.
const WRITING: Duration = Duration::from_millis(100);

/// A wait for one endpoint, begun before its interface is made.
pub struct PolicyWait {
    folder: PathBuf,
    file: String,
    limit: Duration,
    /// The file that was there then.
    stale: Option<Stamp>,
}

/// What Felix must have programmed.
#[derive(Debug, Clone, Copy)]
pub struct Programmed<'a> {
    /// The host's end.
    pub host_link: &'a str,
    /// The MAC of the container's end.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
}

/// The content of a file: what Felix has programmed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "ifaceName")]
    host_link: String,
    #[serde(rename = "mac")]
    mac: String,
    #[serde(rename = "ipv4Nets")]
    v4: Vec<String>,
    #[serde(rename = "ipv6Nets")]
    v6: Vec<String>,
}

/// What there is of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It is about this interface and its addresses.
    Mine,
    /// It is there, and nothing is in it.
    Empty,
    /// It isn't there, is old, or is about something else.
    Other,
}

/// Tells one writing of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            inode: (metadata.dev(), metadata.ino()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.len(),
        }
    }
}

impl PolicyWait {
    /// Notes what is there of the endpoint `name` now. `folder` is empty for Felix' default.
    pub fn begin(
        folder: &str,
        limit: Duration,
        namespace: &str,
        name: &str,
    ) -> Result<PolicyWait, NameError> {
        let folder = PathBuf::from(if folder.is_empty() { FOLDER } else { folder });
        let file = names::endpoint_status_file(namespace, name)?;
        let stale = fs::metadata(folder.join(&file)).ok().map(|found| Stamp::of(&found));
        Ok(PolicyWait { folder, file, limit, stale })
    }

    /// Waits until the endpoint is programmed, and tells whether it is.
    pub async fn wait(&self, expected: Programmed<'_>, end: Deadline) -> bool {
        let end = end.end().checked_sub(RESERVE).unwrap_or(end.end());
        // A limit beyond what a clock can say is none.
        let end = Instant::now().checked_add(self.limit).map_or(end, |limit| end.min(limit));
        let come = tokio::time::timeout_at(end.into(), self.come(expected)).await;
        if come.is_err() {
            tracing::warn!(
                "Felix has not said within {} s that the policy of {} is programmed ({}): the \
                 container starts all the same; see whether Felix runs, and whether it writes to \
                 that folder (EndpointStatusPathPrefix)",
                self.limit.as_secs(),
                expected.host_link,
                self.folder.join(&self.file).display()
            );
        }
        come.is_ok()
    }

    async fn come(&self, expected: Programmed<'_>) {
        let mut watch = None;
        // Since when the file is there and empty.
        let mut empty: Option<Instant> = None;
        loop {
            // Watched before the look: what comes after it is announced.
            let ready = FolderWatch::of(watch.take(), &self.folder);
            let look = self.look(expected);
            if look == Look::Mine {
                return;
            }
            empty = (look == Look::Empty).then(|| empty.unwrap_or_else(Instant::now));
            // Other pods' files may change all the time.
            let left = empty.map(|since| WRITING.saturating_sub(since.elapsed()));
            if left == Some(Duration::ZERO) {
                return;
            }
            match ready {
                Ok(mut ready) => {
                    match left {
                        // What is being written is empty at first, and is closed soon.
                        Some(left) => {
                            if tokio::time::timeout(left, ready.changed()).await.is_err() {
                                return;
                            }
                        }
                        None => ready.changed().await,
                    }
                    watch = Some(ready);
                }
                Err(_) if look == Look::Empty => return,
                Err(error) => {
                    tracing::debug!("{} can't be watched: {error}", self.folder.display());
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn look(&self, expected: Programmed<'_>) -> Look {
        match self.fresh() {
            // COMPAT: an older Felix writes nothing into it; that it is there says all.
            Ok(Some(content)) if content.is_empty() => Look::Empty,
            Ok(Some(content)) if is_about(&content, expected) => Look::Mine,
            Ok(_) => Look::Other,
            Err(error) => {
                tracing::debug!("{}: {error}", self.file);
                Look::Other
            }
        }
    }

    /// The content of a file that wasn't there before.
    fn fresh(&self) -> io::Result<Option<Vec<u8>>> {
        let path = self.folder.join(&self.file);
        let found = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => Stamp::of(&found?),
        };
        match Some(found) == self.stale {
            true => Ok(None),
            false => fs::read(&path).map(Some),
        }
    }
}

/// Whether a file's content is about this interface and all its addresses.
fn is_about(content: &[u8], expected: Programmed<'_>) -> bool {
    // One that is half written is no JSON; its end is another event.
    let Ok(status) = serde_json::from_slice::<Status>(content) else { return false };
    let has_address = |address: &IpAddr| {
        let nets = if address.is_ipv4() { &status.v4 } else { &status.v6 };
        nets.iter().any(|net| {
            let net = net.parse::<IpNet>().or_else(|_| net.parse::<IpAddr>().map(IpNet::from));
            net.is_ok_and(|net| net == IpNet::from(*address))
        })
    };
    status.host_link == expected.host_link
        // Felix knows no MAC where pods are the endpoints.
        && (status.mac.is_empty() || status.mac.parse() == Ok(expected.mac))
        && expected.addresses.iter().all(has_address)
}

#[cfg(test)]
mod tests;
