//! A step in words.

use super::action::{Action, Command, World};
use super::explore::Step;
use super::promise::{Promise, Sight, Sights};
use super::scenario::{Covers, Scenario};
use super::state::{At, Message, READERS, Reader, Slot, Stage, State};

/// What happened, and what came of it.
pub(super) fn of(given: &Scenario, before: &State, action: Action, after: &Step<State>) -> String {
    let words = match action {
        Action::Call(reader)
        | Action::Run(reader, _)
        | Action::Look(reader)
        | Action::Check(reader)
        | Action::Load(reader)
        | Action::Fill(reader) => {
            let words = reading(given, before, action, &after.state, usize::from(reader));
            let (index, process) = (reader + 1, process(given.readers[usize::from(reader)].0));
            format!("reader {index} in {process} {words}{}", outcome(given, before, after, usize::from(reader)))
        }
        Action::Mark(writer)
        | Action::Commit(writer)
        | Action::Deliver(writer)
        | Action::Fail(writer)
        | Action::Kill(writer)
        | Action::Return(writer) => {
            let words = writing(given, before, action, after, usize::from(writer));
            let at = given.writers[usize::from(writer)].map_or(0, |(process, _)| process);
            format!("writer {} in {} {words}", writer + 1, process(at))
        }
        _ => elsewhere(before, action, &after.state),
    };
    match after.broken {
        Some(Promise::Resurrection) => {
            format!("{words}: {} was invalidated, and is valid on the server", entry(&after.state))
        }
        _ => words,
    }
}

fn process(index: u8) -> String {
    format!("process {}", char::from(b'A' + index))
}

fn entry(state: &State) -> String {
    state.data.entry.map_or_else(|| "nothing".into(), |entry| format!("v{}", entry.version))
}

fn slot(slot: &Slot) -> String {
    let foreign = if slot.foreign { " of another server" } else { "" };
    match slot.marks.iter().filter(|left| **left > 0).count() {
        0 if slot.nonce == 0 => "missing".into(),
        0 => format!("n{}{foreign}", slot.nonce),
        1 => format!("marked{foreign}"),
        _ => format!("marked twice{foreign}"),
    }
}

/// What the server has, as far as it matters.
fn server(given: &Scenario, state: &State) -> String {
    let nonce = match (given.covers, state.data.entry) {
        (Covers::Tag, Some(entry)) => format!(" with n{}", entry.nonce),
        _ => String::new(),
    };
    match given.covers {
        Covers::Tag => format!("[entry {}{nonce}, cell {}]", entry(state), slot(&state.data.cell)),
        Covers::Key => format!("[entry {}, lease {}]", entry(state), slot(&state.data.lease)),
    }
}

/// What a call that begins now must not go below.
fn floor(given: &Scenario, state: &State, reader: usize) -> u8 {
    let world = World { given, state: *state, sights: Sights::default(), broken: None };
    world.floor(given.process_of(reader)).0
}

/// How a call ended, if it did, and those that joined it.
fn outcome(given: &Scenario, before: &State, after: &Step<State>, reader: usize) -> String {
    let ended = |index: usize| {
        let (was, is) = (before.readers[index].at, after.state.readers[index].at);
        is == At::Idle && (was != At::Idle || index == reader)
    };
    let kept = if after.sights.has(Sight::Promoted) { ", kept in L1" } else { "" };
    let returns = if ended(reader) { ", and returns" } else { "" };
    match after.broken {
        None | Some(Promise::Resurrection) => format!("{kept}{returns}"),
        Some(_) => {
            let due = |index: usize| match before.readers[index].at {
                At::Idle => floor(given, before, index),
                _ => before.readers[index].floor,
            };
            let whose = (0..READERS).filter(|index| ended(*index)).max_by_key(|index| due(*index)).unwrap_or(reader);
            format!("{kept}{returns}. Too old for reader {}, who has to get v{} or newer", whose + 1, due(whose))
        }
    }
}

fn reading(given: &Scenario, before: &State, action: Action, after: &State, reader: usize) -> String {
    let (it, now) = (&before.readers[reader], &after.readers[reader]);
    let link = if it.tracked { " on the tracked link" } else { "" };
    match action {
        Action::Call(_) => match now.at {
            At::Idle => {
                let process = &before.processes[given.process_of(reader)];
                format!("begins, and finds v{} in L1", process.l1.unwrap_or_default())
            }
            At::Alone => "begins; its process does not believe the server".into(),
            At::Take => "begins, to replace what is there".into(),
            _ => "begins; nothing in L1 that may be served".into(),
        },
        Action::Run(_, command) => {
            let what = match (it.at, command) {
                (_, Command::Entry) => format!("reads the entry: {}", entry(before)),
                (At::Look, Command::Cell) => format!("reads the cell: {}", slot(&before.data.cell)),
                (_, Command::Cell) if before.data.cell == after.data.cell => {
                    format!("makes sure of the cell: {}", slot(&before.data.cell))
                }
                (_, Command::Cell) => {
                    format!("makes sure of the cell: {}, now {}", slot(&before.data.cell), slot(&after.data.cell))
                }
                (_, Command::Lease) if now.token != 0 || it.token != 0 => "takes the lease".into(),
                (_, Command::Lease) => format!("does not get the lease: {}", slot(&before.data.lease)),
            };
            format!("{what}{link}{}", next(it, now))
        }
        Action::Look(_) if it.at == At::End => "ends its load; nothing may be stored".into(),
        Action::Look(_) if it.at == At::Fill => "hears what became of its fill".into(),
        Action::Look(_) => format!("takes its answer{}", next(it, now)),
        Action::Check(_) => format!("asks whether it may join{}", next(it, now)),
        Action::Load(_) => format!("loads v{} from the database", before.source),
        Action::Fill(_) => {
            let stored = after.data.entry != before.data.entry || now.filled;
            let version = it.value.unwrap_or_default();
            if stored {
                format!("stores v{version}{link} {}", server(given, after))
            } else {
                format!("may not store v{version}: its lease is gone {}", server(given, after))
            }
        }
        _ => String::new(),
    }
}

/// Where a reader goes from here.
fn next(before: &Reader, now: &Reader) -> &'static str {
    match (before.at, now.at) {
        (was, is) if was == is => "",
        (_, At::Take) => "; a miss, and it leads",
        (_, At::Load) => "; it will load",
        (_, At::Wait) => "; it joins the load that runs",
        (_, At::Check) => "; a miss, and a load runs already",
        (_, At::Look) => "; it looks again",
        (_, At::Idle) => "; a hit",
        _ => "",
    }
}

fn writing(given: &Scenario, before: &State, action: Action, step: &Step<State>, writer: usize) -> String {
    let after = &step.state;
    match action {
        Action::Mark(_) => {
            let how = if before.writers[writer].stage == Stage::Begin { "sets its mark" } else { "renews its mark" };
            format!("{how} {}", server(given, after))
        }
        Action::Commit(_) => format!("commits v{}", after.source),
        Action::Deliver(_) => {
            let lost = if step.sights.has(Sight::FenceLost) { "; its mark was gone" } else { "" };
            format!("invalidates{lost} {}", server(given, after))
        }
        Action::Fail(_) => "cannot reach the server".into(),
        Action::Kill(_) if after.writers[writer].stage == Stage::Returned => {
            "kills its local cells, and returns".into()
        }
        Action::Kill(_) => "kills its local cells".into(),
        Action::Return(_) => "returns".into(),
        _ => String::new(),
    }
}

fn elsewhere(before: &State, action: Action, after: &State) -> String {
    match action {
        Action::Redeliver(at) => format!("{} delivers what was kept", process(at)),
        Action::Trust(at) => format!("{} hears of it, and believes the server again", process(at)),
        Action::Ping(at) => format!("{} sends a ping", process(at)),
        Action::Receive(at) => {
            let what = match before.processes[usize::from(at)].link.queue.first() {
                Some(Message::Push) => "a push: its local cells are killed".into(),
                Some(Message::Pong(_)) => {
                    format!("the ping's answer: L1 serves for {} ticks", after.processes[usize::from(at)].lease)
                }
                Some(Message::Answer(reader)) => format!("the answer for reader {}", reader + 1),
                _ => "nothing".into(),
            };
            format!("{} receives {what}", process(at))
        }
        Action::Overtake(at) => format!("{} handles the ping's answer before the push that came first", process(at)),
        Action::Cut(at) => format!("the tracked link of {} breaks, and nobody notices", process(at)),
        Action::Notice(at) => format!("{} notices that its link is gone", process(at)),
        Action::Reconnect(at) => format!("{} has a new link", process(at)),
        Action::Crash(at) => format!("{} dies", process(at)),
        Action::Evict(Command::Entry) => "the server evicts the entry".into(),
        Action::Evict(Command::Cell) => format!("the server evicts the cell ({})", slot(&before.data.cell)),
        Action::Evict(Command::Lease) => format!("the server evicts the lease ({})", slot(&before.data.lease)),
        Action::Expire => "the loader's lease ends".into(),
        Action::Flush => "everything on the server is dropped".into(),
        Action::Save => "the server saves what it has".into(),
        Action::Restart if before.saved.is_some() => "the server restarts with what was saved".into(),
        Action::Restart => "the server restarts with nothing".into(),
        Action::Tick => "a moment passes".into(),
        _ => String::new(),
    }
}
