//! A TCP proxy between a client and a server, which counts what passes and does to it what networks do.
//!
//! It has a thread and a runtime of its own: a test that blocks, or pauses its runtime's clock, does not hold it up, and no
//! method has to be awaited. What a method asks for holds when it returns.

mod fault;
mod link;
mod port;
mod resp;
mod tally;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

pub use fault::Corrupt;
pub use port::Port;

use fault::{Faults, Plan};
use link::{Link, Links};
use tally::Tally;

/// Speaks for a server on a port of its own. Without TLS only: it reads what passes.
///
/// A client that connects while the server is down sees its connection close; use [`refuse`](Self::refuse) for a port on
/// which nobody listens. Faults add up until [`heal`](Self::heal).
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
    /// Its end stops the thread.
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the methods and the connections both see.
#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    tally: Mutex<Tally>,
    faults: Mutex<Faults>,
}

/// What only the thread can do. The second part is told when it is done.
#[derive(Debug)]
enum Order {
    Listen(TcpListener, blocking::Sender<()>),
    Refuse(blocking::Sender<()>),
    Cut(Which, blocking::Sender<()>),
}

/// Which connections are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    All,
    /// Those of which bytes were lost.
    Holed,
}

impl Proxy {
    /// A proxy before the server at `target`.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let (port, listener) = loop {
            let port = Port::claim();
            if let Ok(listener) = listen(port.number()) {
                break (port, listener);
            }
        };
        let shared = Arc::new(Shared { target: Mutex::new(target), tally: Mutex::default(), faults: Mutex::default() });
        let (orders, received) = mpsc::unbounded_channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let serving = serve(Arc::clone(&shared), received);
        let thread = thread::Builder::new().name("proxy".to_owned()).spawn(move || runtime.block_on(serving));
        let proxy = Self { port, shared, orders: Some(orders), thread: thread.ok() };
        proxy.order(|done| Order::Listen(listener, done));
        proxy
    }

    /// New connections lead to another server: an address that moves with the primary. Open ones stay.
    pub fn retarget(&self, target: SocketAddr) {
        *self.shared.target.lock() = target;
    }

    /// Where it listens, as a cache URL without user or password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The port on which it listens, which stays the same.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// How often a client waited for the server, on all connections together.
    ///
    /// A round trip begins with a command that finds no other unanswered on its connection, and is counted when its first
    /// answer comes back: a pipeline is one, and so are commands of several callers that overlap. Messages that the server
    /// sends by itself count for nothing. Of a pipeline that does not fit into the buffers of the system (some hundred
    /// KiB), the rest can count again. `CLIENT REPLY` is not understood.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.tally.lock().round_trips
    }

    /// How often each command was sent, by its first word in capitals: those that open a connection too (`HELLO`, `AUTH`,
    /// `CLIENT`), so call [`reset`](Self::reset) once the client is connected.
    #[must_use]
    pub fn commands(&self) -> BTreeMap<String, u64> {
        self.shared.tally.lock().commands.clone()
    }

    /// How often one command was sent.
    #[must_use]
    pub fn count(&self, command: &str) -> u64 {
        self.shared.tally.lock().commands.get(command).copied().unwrap_or_default()
    }

    /// Bytes that clients sent, whatever became of them.
    #[must_use]
    pub fn bytes_to_server(&self) -> u64 {
        self.shared.tally.lock().bytes_to_server
    }

    /// Bytes that clients were sent.
    #[must_use]
    pub fn bytes_to_client(&self) -> u64 {
        self.shared.tally.lock().bytes_to_client
    }

    /// Connections that were accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.tally.lock().connections
    }

    /// Invalidations that were [swallowed](Self::swallow_pushes).
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.shared.tally.lock().swallowed
    }

    /// Counts from zero again. Faults stay.
    pub fn reset(&self) {
        *self.shared.tally.lock() = Tally::default();
    }

    /// What a client sends arrives this much later. Also on connections that are open.
    pub fn delay(&self, by: Duration) {
        self.shared.faults.lock().delay = by;
    }

    /// What clients send vanishes, and connections stay open. What the server says arrives.
    pub fn drop_to_server(&self) {
        self.shared.faults.lock().drop_to_server = true;
    }

    /// What the server says vanishes, and connections stay open. What clients send arrives: commands are carried out.
    pub fn drop_to_client(&self) {
        self.shared.faults.lock().drop_to_client = true;
    }

    /// Invalidations that the server pushes (`CLIENT TRACKING`) vanish, and everything else passes: what a balancer does that
    /// knows nothing of them. Also on connections that are open.
    pub fn swallow_pushes(&self) {
        self.shared.faults.lock().swallow_pushes = true;
    }

    /// Everything vanishes, and connections stay open, new ones too.
    pub fn half_open(&self) {
        self.drop_to_server();
        self.drop_to_client();
    }

    /// Resets (`RST`) all open connections. New ones are served.
    pub fn reset_all(&self) {
        self.order(|done| Order::Cut(Which::All, done));
    }

    /// Nobody listens any more: who connects is refused. Open connections stay.
    pub fn refuse(&self) {
        self.order(Order::Refuse);
    }

    /// The next `count` answers, on whatever connection, are replaced. The server carries the commands out. Messages that it
    /// sends by itself are no answers; those to `HELLO` and the like are.
    pub fn corrupt(&self, corrupt: Corrupt, count: u64) {
        self.shared.faults.lock().plans.push(Plan { corrupt, left: count, command: None });
    }

    /// As [`corrupt`](Self::corrupt), for answers to one command only.
    pub fn corrupt_answers_to(&self, command: &str, corrupt: Corrupt, count: u64) {
        let command = Some(command.to_ascii_uppercase());
        self.shared.faults.lock().plans.push(Plan { corrupt, left: count, command });
    }

    /// Ends all faults. Connections of which bytes were lost are reset, since the rest would not be what was sent: a network
    /// that comes back either sends the bytes again or has given the connection up.
    pub fn heal(&self) {
        *self.shared.faults.lock() = Faults::default();
        self.order(|done| Order::Cut(Which::Holed, done));
        // Fails where it listens already.
        if let Ok(listener) = listen(self.port()) {
            self.order(|done| Order::Listen(listener, done));
        }
    }

    /// Gives the thread an order and waits until it was carried out.
    fn order(&self, order: impl FnOnce(blocking::Sender<()>) -> Order) {
        let (done, carried_out) = blocking::channel();
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order(done)).is_ok());
        assert!(sent && carried_out.recv().is_ok(), "the thread of the proxy has ended");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The thread: accepts connections and carries out orders.
async fn serve(shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut listener = None;
    let mut links = Links::default();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let done = match order {
                    None => return,
                    Some(Order::Listen(socket, done)) => {
                        listener = tokio::net::TcpListener::from_std(socket).ok();
                        done
                    }
                    Some(Order::Refuse(done)) => {
                        listener = None;
                        done
                    }
                    Some(Order::Cut(which, done)) => {
                        links.cut(which).await;
                        done
                    }
                };
                // A caller that panicked does not wait.
                let _ = done.send(());
            }
            Some(client) = accept(listener.as_ref()) => {
                shared.tally.lock().connections += 1;
                links.add(Link::default(), client, &shared);
            }
        }
    }
}

/// The next client; `None` when it was gone before it was accepted.
async fn accept(listener: Option<&tokio::net::TcpListener>) -> Option<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(client, _)| client),
        None => std::future::pending().await,
    }
}
