//! A wire between a plugin and its store that breaks at a known place.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

use crate::host::Host;

/// A proxy on a host's loopback that passes so many pieces of what clients send, and then is gone:
/// connections end, new ones are refused.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    sent: Arc<AtomicUsize>,
}

impl Proxy {
    /// Stands before a port of the host's loopback and lets `pieces` through.
    pub fn before(host: &Arc<Host>, port: u16, pieces: usize) -> Result<Proxy> {
        let listener = host.within(|| TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let sent = Arc::new(AtomicUsize::new(0));
        let (host, counter) = (host.clone(), sent.clone());
        thread::spawn(move || -> io::Result<()> {
            while counter.load(Ordering::SeqCst) <= pieces {
                let (client, _) = listener.accept()?;
                let server = host.within(|| TcpStream::connect(("127.0.0.1", port)));
                let Ok(server) = server else { return Ok(()) };
                let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                pass(client, server, &counter, pieces)?;
            }
            Ok(())
        });
        Ok(Proxy { address, sent })
    }

    /// Where clients connect to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether it is gone.
    pub fn is_gone(&self, pieces: usize) -> bool {
        self.sent.load(Ordering::SeqCst) > pieces
    }
}

/// Passes what a client sends. The piece after the last one ends both connections.
fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    counter: &AtomicUsize,
    pieces: usize,
) -> io::Result<()> {
    let mut buffer = [0; 65536];
    loop {
        let length = client.read(&mut buffer).unwrap_or(0);
        let over = counter.fetch_add(usize::from(length > 0), Ordering::SeqCst) >= pieces;
        if length == 0 || over {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
            return Ok(());
        }
        server.write_all(&buffer[..length])?;
    }
}
