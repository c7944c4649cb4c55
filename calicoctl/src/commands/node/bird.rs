//! BIRD's control socket (`reference/bgp-node.md` section 5): ask for the protocols, read the
//! table. What the table says is [`table`]'s part.

pub mod table;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use table::{Table, TableError};

/// How long BIRD may take for each line.
const LINE_LIMIT: Duration = Duration::from_secs(2);
/// The longest answer that is read: ten thousand peers and more.
const ANSWER_LIMIT: u64 = 4 << 20;
/// The folders of the socket: upstream's image, and a BIRD of the distribution.
const FOLDERS: [&str; 2] = ["/var/run/calico", "/var/run/bird"];

/// Why BIRD's table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BirdError {
    /// No socket took the connection.
    #[error("unable to connect to {daemon} socket: {socket}: {source}")]
    Connect {
        /// BIRDv4 or BIRDv6.
        daemon: &'static str,
        /// The socket that was tried last.
        socket: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection failed, or BIRD was silent.
    #[error("{socket}: {}", reason(source))]
    Talk {
        /// The socket.
        socket: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The answer is none that we know.
    #[error("{socket}: {source}")]
    Table {
        /// The socket.
        socket: String,
        /// What is wrong with it.
        source: TableError,
    },
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("BIRD did not answer within {} s", LINE_LIMIT.as_secs())
        }
        _ => error.to_string(),
    }
}

/// Asks the daemon whose socket has this name (`bird.ctl`, `bird6.ctl`) for its protocols.
pub fn ask(daemon: &'static str, socket: &str) -> Result<Table, BirdError> {
    let (socket, lines) = query(daemon, socket, "show protocols")?;
    let table = Table::parse(lines.iter().map(String::as_str));
    table.map_err(|source| BirdError::Table { socket, source })
}

/// Gives the daemon a command: the socket's path, and the lines of the answer.
pub fn query(
    daemon: &'static str,
    socket: &str,
    command: &str,
) -> Result<(String, Vec<String>), BirdError> {
    let (path, stream) = connect(daemon, socket)?;
    let socket = path.display().to_string();
    match talk(stream, command) {
        Ok(lines) => Ok((socket, lines)),
        Err(source) => Err(BirdError::Talk { socket, source }),
    }
}

fn connect(daemon: &'static str, socket: &str) -> Result<(PathBuf, UnixStream), BirdError> {
    let paths = FOLDERS.map(|folder| Path::new(folder).join(socket));
    let mut failed = None;
    for path in paths {
        match UnixStream::connect(&path) {
            Ok(stream) => return Ok((path, stream)),
            // Of two failures the one that says more is told: the socket is there, and refuses.
            Err(source) => {
                if failed.is_none() || source.kind() != io::ErrorKind::NotFound {
                    failed = Some((path, source));
                }
            }
        }
    }
    let (path, source) = failed.unwrap_or_else(|| (socket.into(), io::ErrorKind::NotFound.into()));
    Err(BirdError::Connect { daemon, socket: path.display().to_string(), source })
}

/// The lines of the answer, up to the one that ends it.
fn talk(mut stream: UnixStream, command: &str) -> io::Result<Vec<String>> {
    stream.set_read_timeout(Some(LINE_LIMIT))?;
    stream.set_write_timeout(Some(LINE_LIMIT))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut reader = BufReader::new(stream.take(ANSWER_LIMIT));
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::Error::other("BIRD's answer ended before its last line"));
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let is_last = table::is_last(&line);
        lines.push(line);
        if is_last {
            return Ok(lines);
        }
    }
}
