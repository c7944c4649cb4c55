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
    /// The first request that holds these bytes is kept back, and its connection dropped. It
    /// arrives just before the next one that holds them; then this runs, then that one goes on.
    Late(&'static [u8], Box<dyn FnOnce() + Send>),
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
    late: Mutex<Option<Late>>,
}

/// A request that was kept back.
struct Late {
    server: TcpStream,
    bytes: Vec<u8>,
    marker: &'static [u8],
    then: Box<dyn FnOnce() + Send>,
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
            late: Mutex::new(None),
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
            let bytes = &buffer[..length];
            if request {
                self.deliver_late(bytes);
            }
            let loss = self.loss_of(bytes, request);
            match loss {
                None => {
                    if to.write_all(bytes).is_err() {
                        break;
                    }
                }
                Some(Loss::Silently) => silent = true,
                Some(Loss::Request) => break,
                Some(Loss::Late(marker, then)) => {
                    let late = Late { server: to, bytes: bytes.to_vec(), marker, then };
                    *self.late.lock().unwrap() = Some(late);
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
                Some(Loss::Answer(then)) => {
                    then();
                    break;
                }
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// What befalls these bytes.
    fn loss_of(&self, bytes: &[u8], request: bool) -> Option<Loss> {
        let mut loss = self.loss.lock().unwrap();
        let mine = match loss.as_ref()? {
            Loss::Request => request,
            Loss::Late(marker, _) => request && holds(bytes, marker),
            Loss::Answer(_) | Loss::Silently => !request,
        };
        if mine { loss.take() } else { None }
    }

    fn deliver_late(&self, bytes: &[u8]) {
        let late = self.late.lock().unwrap().take_if(|late| holds(bytes, late.marker));
        if let Some(mut late) = late {
            late.server.write_all(&late.bytes).unwrap();
            (late.then)();
        }
    }
}

fn holds(bytes: &[u8], marker: &[u8]) -> bool {
    bytes.windows(marker.len()).any(|window| window == marker)
}
