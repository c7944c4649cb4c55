//! A TCP proxy that loses what a network loses.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to the next bytes of one direction.
pub enum Loss {
    /// The request is dropped, then the connection.
    Request,
    /// The answer is dropped; then this runs, then the connection is dropped.
    Answer(Box<dyn FnOnce() + Send>),
    /// The answer is dropped and the connection stays open, silent.
    Silently,
}

/// A proxy on a loopback port.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    loss: Mutex<Option<Loss>>,
    closed: AtomicBool,
    accepted: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Begins to forward to an address.
    pub fn start(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            loss: Mutex::new(None),
            closed: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            open: Mutex::new(Vec::new()),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.closed.load(Ordering::SeqCst) {
                    break;
                }
                accepting.accepted.fetch_add(1, Ordering::SeqCst);
                accepting.clone().forward(client);
            }
        });
        Proxy { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Loses something once, on whichever connection the next bytes come.
    pub fn lose(&self, loss: Loss) {
        *self.shared.loss.lock().unwrap() = Some(loss);
    }

    /// Closes all connections, and refuses new ones.
    pub fn close(&self) {
        self.closer()();
    }

    /// What [`Proxy::close`] does, for others to do.
    pub fn closer(&self) -> impl Fn() + Send + 'static {
        let (shared, address) = (self.shared.clone(), self.address);
        move || {
            if !shared.closed.swap(true, Ordering::SeqCst) {
                // Wakes the listener, which then goes away.
                let _ = TcpStream::connect(address);
            }
            for stream in shared.open.lock().unwrap().drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn forward(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.target) else { return };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let clone = |stream: &TcpStream| stream.try_clone().unwrap();
        self.open.lock().unwrap().extend([clone(&client), clone(&server)]);
        let (up, down) = ((clone(&client), clone(&server)), (server, client));
        let requests = self.clone();
        thread::spawn(move || requests.pump(up, true));
        thread::spawn(move || self.pump(down, false));
    }

    /// Copies one direction until its end, or until something is to be lost.
    fn pump(&self, (mut from, mut to): (TcpStream, TcpStream), request: bool) {
        let mut buffer = vec![0; 1 << 16];
        let mut silent = false;
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if silent {
                continue;
            }
            let loss = {
                let mut loss = self.loss.lock().unwrap();
                let mine =
                    loss.as_ref().is_some_and(|loss| matches!(loss, Loss::Request) == request);
                if mine { loss.take() } else { None }
            };
            match loss {
                None => {
                    if to.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
                Some(Loss::Silently) => silent = true,
                Some(Loss::Request) => break,
                Some(Loss::Answer(then)) => {
                    then();
                    break;
                }
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
