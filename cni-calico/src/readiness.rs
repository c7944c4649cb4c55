//! Readiness gates: what must answer before a container is attached (`reference/cni-plugin.md`
//! section 3.1, step 9). All are asked at once and at once: upstream asks one after the other, each
//! for the first time after five seconds.

use std::io;
use std::time::Duration;

use cni::{Error, code};
use cni_ipam::run::{self, Deadline};
use futures::future::{join_all, try_join_all};
use http::Uri;
use libcalico::config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long all gates together may take to open.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long to wait before asking again. Nothing tells when a gate opens.
const PAUSE: Duration = Duration::from_millis(500);
/// Where calico/node says on its host how it is; Felix' `healthPort` unless somebody changed it.
const NODE_HEALTH: [&str; 3] = ["127.0.0.1:9099", "localhost:9099", "[::1]:9099"];
/// A status line is shorter.
const LINE_MAX: usize = 1024;

/// An `http` URL that answers with a status from 200 to 399 when what is behind it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Host and port, without user and password.
    address: String,
    path: String,
}

impl Gate {
    /// Reads one entry of `readiness_gates`.
    pub fn parse(url: &str) -> Result<Gate, Error> {
        let invalid = || {
            Error::new(
                code::INVALID_CONFIG,
                format!(
                    "readiness_gates: {:?} is no URL: write it as \"http://127.0.0.1:9099/readiness\"",
                    config::without_user(url)
                ),
            )
        };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        match uri.scheme_str() {
            Some("http") => Ok(Gate {
                address: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
                path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            }),
            Some("https") => Err(Error::new(
                code::UNSUPPORTED_FIELD,
                format!("readiness_gates: https://{host} is not supported: use an http URL"),
            )),
            _ => Err(invalid()),
        }
    }

    /// Asks once.
    async fn ask(&self, limit: Duration) -> Result<(), Error> {
        match timeout(limit, self.status()).await {
            Ok(Ok(200..=399)) => Ok(()),
            Ok(Ok(status)) => Err(self.shut(&format!("it answers with status {status}"))),
            Ok(Err(error))
                if error.kind() == io::ErrorKind::ConnectionRefused
                    && NODE_HEALTH.contains(&self.address.as_str()) =>
            {
                let why = format!("{error}: calico/node is not running on this node");
                Err(Error { code: code::LIMITED_CONNECTIVITY, ..self.shut(&why) })
            }
            Ok(Err(error)) => Err(self.shut(&error.to_string())),
            Err(_) => Err(self.shut(&format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// The status of the answer to one GET. All that counts is in its first line.
    async fn status(&self) -> io::Result<u16> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let Gate { address, path } = self;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: calico-cni\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut line = Vec::new();
        while !line.contains(&b'\n') && line.len() < LINE_MAX {
            if stream.read_buf(&mut line).await? == 0 {
                break;
            }
        }
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split_ascii_whitespace();
        words
            .next()
            .filter(|version| version.starts_with("HTTP/1."))
            .and_then(|_| words.next()?.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its answer is not HTTP"))
    }

    fn shut(&self, why: &str) -> Error {
        let Gate { address, path } = self;
        Error::new(
            code::TRY_AGAIN_LATER,
            format!("readiness gate http://{address}{path} is not open: {why}"),
        )
    }
}

/// Waits until all gates are open.
pub async fn wait(gates: &[Gate], end: Deadline) -> Result<(), Error> {
    let end = end.within(PATIENCE);
    try_join_all(gates.iter().map(async |gate| {
        loop {
            let Err(error) = gate.ask(ANSWER).await else { return Ok(()) };
            if std::time::Instant::now() + PAUSE >= end {
                return Err(Error { code: code::TRY_AGAIN_LATER, ..error });
            }
            sleep(PAUSE).await;
        }
    }))
    .await
    .map(drop)
}

/// Whether all gates are open now. Fails with [`code::LIMITED_CONNECTIVITY`] where one is calico/node's
/// own and nobody listens there: then running containers get no news of routes and policy either.
pub async fn probe(gates: &[Gate]) -> Result<(), Error> {
    let asked = join_all(gates.iter().map(|gate| gate.ask(run::STATUS_LIMIT))).await;
    let shut = asked.into_iter().filter_map(Result::err);
    // The worst first.
    match shut.max_by_key(|error| error.code == code::LIMITED_CONNECTIVITY) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_what_is_none_is_named() {
        for (url, address, path) in [
            ("http://127.0.0.1:9099/readiness", "127.0.0.1:9099", "/readiness"),
            ("http://localhost", "localhost:80", "/"),
            ("http://[::1]:8080/a?b=c", "[::1]:8080", "/a?b=c"),
            ("http://user:secret@node-1:1/", "node-1:1", "/"),
        ] {
            let gate = Gate { address: address.into(), path: path.into() };
            assert_eq!(Gate::parse(url), Ok(gate), "{url}");
        }
        for (url, expected) in [
            ("https://node-1/", code::UNSUPPORTED_FIELD),
            ("ftp://node-1/", code::INVALID_CONFIG),
            ("/readiness", code::INVALID_CONFIG),
            ("bogus", code::INVALID_CONFIG),
            ("", code::INVALID_CONFIG),
        ] {
            assert_eq!(Gate::parse(url).unwrap_err().code, expected, "{url}");
        }
    }
}
