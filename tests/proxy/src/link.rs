//! One connection through the proxy: bytes go up to the server and down to the client, as the faults have it.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use super::tally::Asked;
use super::{Shared, Which};
use crate::resp::Scanner;

/// Read at once. What a client writes together should be seen together.
const CHUNK: usize = 256 * 1024;

/// Chunks on their way to the server while there is a delay; a client that sends more waits.
const DELAYED: usize = 1024;

/// What is known of a connection from outside.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Bytes of it were lost. Nothing more passes in that direction: it would be another stream than the one sent.
    holed: AtomicBool,
    cut: Notify,
    asked: Mutex<Asked>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<(Arc<Link>, JoinHandle<()>)>);

impl Links {
    pub(super) fn add(&mut self, link: Link, client: TcpStream, shared: &Arc<Shared>) {
        self.0.retain(|(_, task)| !task.is_finished());
        let link = Arc::new(link);
        self.0.push((Arc::clone(&link), tokio::spawn(run(link, client, Arc::clone(shared)))));
    }

    /// Resets connections, and returns when both ends of each are closed.
    pub(super) async fn cut(&mut self, which: Which) {
        let all = std::mem::take(&mut self.0);
        let (cut, kept) = all.into_iter().partition(|(link, _)| which == Which::All || link.holed.load(SeqCst));
        self.0 = kept;
        for (link, task) in Vec::from_iter::<Vec<(Arc<Link>, JoinHandle<()>)>>(cut) {
            link.cut.notify_one();
            let _ = task.await;
        }
    }
}

async fn run(link: Arc<Link>, mut client: TcpStream, shared: Arc<Shared>) {
    let target = *shared.target.lock();
    let connected = tokio::select! {
        connected = TcpStream::connect(target) => connected,
        () = link.cut.notified() => return,
    };
    let Ok(mut server) = connected else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let reset = {
        let (client_says, to_client) = client.split();
        let (server_says, to_server) = server.split();
        let (delayed, due) = mpsc::channel(DELAYED);
        // Where the client has closed, the server still answers; where the server has closed, there is nothing more to say.
        let up = async {
            let _ = tokio::join!(up(&link, &shared, client_says, delayed), forward(due, to_server));
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = link.cut.notified() => true,
            ended = down(&link, &shared, server_says, to_client) => ended.unwrap_or(true),
            () = up => true,
        }
    };
    if reset {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Bytes, and when they are due.
type Delayed = (Option<Pin<Box<Sleep>>>, Vec<u8>);

/// Reads what the client says until it closes.
async fn up(link: &Link, shared: &Shared, mut client: ReadHalf<'_>, delayed: mpsc::Sender<Delayed>) -> io::Result<()> {
    let mut scanner = Scanner::requests();
    let mut lost = false;
    let mut buffer = vec![0; CHUNK];
    loop {
        let said = client.read(&mut buffer).await;
        let mut read = said.as_ref().copied().unwrap_or_default();
        // More of the same may have come while this was read.
        while (1..CHUNK).contains(&read) {
            match client.try_read(&mut buffer[read..]) {
                Ok(more) if more > 0 => read += more,
                _ => break,
            }
        }
        let bytes = buffer[..read].to_vec();
        let delay = {
            let faults = shared.faults.lock();
            lost |= faults.drop_to_server;
            faults.delay
        };
        link.asked.lock().sent(&mut scanner, &bytes, &mut shared.tally.lock());
        if lost {
            link.holed.store(true, SeqCst);
            if read == 0 {
                // The close, or the reset, is lost too.
                return pending().await;
            }
            continue;
        }
        said?;
        // Even a sleep of nothing takes a millisecond.
        let due = (!delay.is_zero()).then(|| Box::pin(sleep(delay)));
        if read == 0 || delayed.send((due, bytes)).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes to the server what is due, and closes when there is no more.
async fn forward(mut due: mpsc::Receiver<Delayed>, mut server: WriteHalf<'_>) -> io::Result<()> {
    while let Some((delay, bytes)) = due.recv().await {
        if let Some(delay) = delay {
            delay.await;
        }
        server.write_all(&bytes).await?;
    }
    server.shutdown().await
}

/// Passes on what the server says until it closes. Returns whether the connection is to be reset.
async fn down(link: &Link, shared: &Shared, mut server: ReadHalf<'_>, mut client: WriteHalf<'_>) -> io::Result<bool> {
    let mut scanner = Scanner::answers();
    let mut replacing = false;
    let mut lost = false;
    // A push that is not to arrive, if it is an invalidation: what it is shows when it ends.
    let mut push: Option<Vec<u8>> = None;
    let mut bytes = vec![0; CHUNK];
    loop {
        let said = server.read(&mut bytes).await;
        lost |= shared.faults.lock().drop_to_client;
        if lost {
            link.holed.store(true, SeqCst);
            if !matches!(said, Ok(1..)) {
                return pending().await;
            }
            continue;
        }
        let read = said?;
        if read == 0 {
            return Ok(false);
        }
        let mut out = Vec::with_capacity(read);
        let mut reset = false;
        let mut rest = &bytes[..read];
        while !rest.is_empty() && !reset {
            let (mut asked, mut tally, mut faults) = (link.asked.lock(), shared.tally.lock(), shared.faults.lock());
            if scanner.at_start() {
                push = (faults.swallow_pushes && rest[0] == b'>').then(Vec::new);
                let replacement = asked.answering(rest[0], &mut tally).and_then(|command| faults.replace(command));
                replacing = replacement.is_some();
                match replacement.map(|corrupt| corrupt.bytes()) {
                    Some(Some(instead)) => out.extend(instead),
                    Some(None) => reset = true,
                    None => {}
                }
            }
            let (length, frame) = scanner.scan(rest);
            match &mut push {
                Some(push) => push.extend_from_slice(&rest[..length]),
                None if replacing => {}
                None => out.extend_from_slice(&rest[..length]),
            }
            rest = &rest[length..];
            if let Some(frame) = frame {
                match push.take() {
                    Some(_) if frame.name == "INVALIDATE" => tally.swallowed += 1,
                    Some(push) => out.extend(push),
                    None => {}
                }
                asked.ended(&frame, &mut tally);
            }
        }
        shared.tally.lock().bytes_to_client += out.len() as u64;
        client.write_all(&out).await?;
        if reset {
            return Ok(true);
        }
    }
}
