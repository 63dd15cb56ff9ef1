//! Who waits for which lease. A channel is subscribed while somebody listens, on a connection of its own: a connection
//! that is subscribed to anything may be closed by the server for large answers.
//!
//! Subscribing is done by whoever holds the turn, for all who wait for theirs, so that a thousand listeners need a few
//! round trips and not a thousand, and so that no UNSUBSCRIBE overtakes the SUBSCRIBE of a channel that is wanted again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::link::Link;
use crate::clock::{Nanos, after, alive_now};
use crate::error::Error;
use crate::store::{Answer, Listener, Name};
use crate::timer::Sleep;

/// How long a listener waits on a node that has ended.
const OVER: Duration = Duration::from_millis(100);

/// The channels of one server.
#[derive(Default)]
pub(super) struct Wakes {
    channels: Mutex<HashMap<Name, Channel>>,
    turn: tokio::sync::Mutex<()>,
}

struct Channel {
    /// Changes with every message, and whenever one may have been missed.
    signal: watch::Sender<()>,
    listeners: usize,
    /// The link whose subscription was confirmed; 0 if none was.
    on: u64,
    /// Whether the server has been told, or may have been, that nobody listens.
    leaving: bool,
    /// Whether messages may have been missed since.
    missed: bool,
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").field("channels", &self.channels.lock().len()).finish_non_exhaustive()
    }
}

impl Wakes {
    /// Whether anybody listens, or did until a moment ago.
    pub(super) fn is_empty(&self) -> bool {
        self.channels.lock().is_empty()
    }

    /// A listener of a channel that is yet to be subscribed: see [`settle`](Self::settle).
    pub(super) fn enter(self: &Arc<Self>, name: &Name, nudge: Arc<Notify>) -> Ear {
        let mut channels = self.channels.lock();
        let channel = channels.entry(name.clone()).or_insert_with(|| Channel {
            signal: watch::Sender::new(()),
            listeners: 0,
            on: 0,
            leaving: false,
            missed: false,
        });
        channel.listeners += 1;
        Ear { signal: channel.signal.subscribe(), is_over: false, name: name.clone(), wakes: self.clone(), nudge }
    }

    /// Whether messages of a channel come in on this link.
    pub(super) fn is_on(&self, name: &Name, link: &Link) -> bool {
        self.channels.lock().get(name).is_some_and(|channel| channel.on == link.id && !channel.leaving)
    }

    /// Makes what is subscribed on a link what is listened to.
    pub(super) async fn settle(&self, link: &Link, deadline: Nanos) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let (mut wanted, mut unwanted): (Vec<Name>, Vec<Name>) = Default::default();
        self.channels.lock().retain(|name, channel| {
            match (channel.listeners, channel.on == link.id) {
                (0, false) => return false,
                (0, true) => {
                    // Whoever wants it from here on subscribes anew, after us, even if we are given up halfway.
                    channel.leaving = true;
                    unwanted.push(name.clone());
                }
                (_, true) if !channel.leaving => {}
                (_, is_on) => {
                    // It was on a link that ended without a word, with its runtime.
                    channel.missed |= !is_on && channel.on != 0;
                    wanted.push(name.clone());
                }
            }
            true
        });
        if !unwanted.is_empty() {
            let names: Vec<&[u8]> = unwanted.iter().map(|name| &name[..]).collect();
            link.unsubscribe(&names, deadline).await?;
            let mut channels = self.channels.lock();
            for name in unwanted {
                if let Entry::Occupied(channel) = channels.entry(name)
                    && channel.get().listeners == 0
                {
                    channel.remove();
                }
            }
        }
        if !wanted.is_empty() {
            let names: Vec<&[u8]> = wanted.iter().map(|name| &name[..]).collect();
            link.subscribe(&names, deadline).await?;
            let mut channels = self.channels.lock();
            for name in &wanted {
                if let Some(channel) = channels.get_mut(name) {
                    channel.on = link.id;
                    channel.leaving = false;
                    if std::mem::take(&mut channel.missed) {
                        channel.signal.send_replace(());
                    }
                }
            }
        }
        Ok(())
    }

    /// A message has come.
    pub(super) fn message(&self, name: &[u8]) {
        if let Some(channel) = self.channels.lock().get(name) {
            channel.signal.send_replace(());
        }
    }

    /// A link is gone: what it was subscribed to may be missed from now on.
    pub(super) fn lost(&self, link: u64) {
        for channel in self.channels.lock().values_mut().filter(|channel| channel.on == link) {
            channel.on = 0;
            channel.leaving = false;
            channel.missed = true;
            channel.signal.send_replace(());
        }
    }

    /// Nothing will come any more. Who listens returns at once from now on.
    pub(super) fn close(&self) {
        self.channels.lock().clear();
    }

    fn leave(&self, name: &Name) {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get_mut(name) {
            channel.listeners = channel.listeners.saturating_sub(1);
            if channel.listeners == 0 && channel.on == 0 {
                channels.remove(name);
            }
        }
    }
}

/// Hears one channel.
pub(super) struct Ear {
    signal: watch::Receiver<()>,
    is_over: bool,
    name: Name,
    wakes: Arc<Wakes>,
    /// Has the channel unsubscribed in the background.
    nudge: Arc<Notify>,
}

impl Listener for Ear {
    fn woken(&mut self) -> Answer<'_, ()> {
        Box::pin(async move {
            if self.signal.changed().await.is_err() {
                // The node has ended and nothing will come. Said at once, and then slowly: whoever asks in a loop is not
                // to turn in it.
                if std::mem::replace(&mut self.is_over, true) {
                    Sleep::until(after(alive_now(), OVER)).await;
                }
            }
        })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.wakes.leave(&self.name);
        self.nudge.notify_one();
    }
}
