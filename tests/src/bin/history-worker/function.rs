//! Annotated functions: each family has its own rows, one way to read them and one to write them, so that what one way breaks
//! is not mended by another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, cache_read, cache_write};
use cache_tests::history::{Event, Log, OpId, Row, Source, SourceError, now, row_name};
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::work::Fate;

/// An operation: what it works on, and how its body takes its time.
#[derive(Clone)]
pub(crate) struct At {
    pub(crate) cache: Cache,
    pub(crate) source: Arc<Source>,
    pub(crate) log: Arc<Log>,
    pub(crate) fate: Arc<Fate>,
    pub(crate) op: OpId,
    /// Before a commit.
    pub(crate) before: Duration,
    /// After a commit, and after a row was read.
    pub(crate) after: Duration,
    /// Whether a read's own body ran.
    pub(crate) loaded: Arc<AtomicBool>,
}

/// Why a function failed.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    Source(SourceError),
    /// Asked for by `on_error = fail`.
    Cache(String),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<cache_runtime::Error> for Trouble {
    fn from(error: cache_runtime::Error) -> Self {
        Self::Cache(error.to_string())
    }
}

type Done = Result<Row, Trouble>;

impl At {
    /// The body of a read.
    async fn load(&self, family: &str, id: u64) -> Done {
        self.loaded.store(true, SeqCst);
        self.fate.loads.fetch_add(1, SeqCst);
        let (start, name) = (now(), row_name(family, id));
        let row = block_in_place(|| self.source.read(&name))?;
        if !self.after.is_zero() {
            sleep(self.after).await;
        }
        let (op, version) = (self.op, row.version);
        self.log.add(&Event::Load { op, row: name, version, start, end: now() });
        Ok(row)
    }

    /// The body of a write.
    async fn commit(&self, family: &str, id: u64) -> Done {
        if !self.before.is_zero() {
            sleep(self.before).await;
        }
        self.fate.before_commit();
        let row = block_in_place(|| self.source.commit(&row_name(family, id), self.op))?;
        self.log.add(&Event::Committed { op: self.op, version: row.version, at: now() });
        self.fate.after_commit();
        if !self.after.is_zero() {
            sleep(self.after).await;
        }
        Ok(row)
    }
}

/// A family: how its rows are read and written. Attributes that name arguments have to bring their names.
macro_rules! family {
    ($name:literal, $at:ident, $id:ident: #[cache_read($($read:tt)*)] $reader:ident, #[cache_write($($write:tt)*)] $writer:ident) => {
        #[cache_read($($read)*, cache = $at.cache, skip($at))]
        async fn $reader($at: &At, $id: u64) -> Done {
            $at.load($name, $id).await
        }

        #[cache_write($($write)*, cache = $at.cache)]
        async fn $writer($at: &At, $id: u64) -> Done {
            $at.commit($name, $id).await
        }
    };
}

family!("tagged", at, id:
    #[cache_read(key = "tagged:<id>", tags = ["t:<id>"], lock = true, lock_ttl = "1s", wait = "2s")] tagged,
    #[cache_write(tags = ["t:<id>"])] write_tagged);
family!("plain", at, id:
    #[cache_read(key = "plain:<id>")] plain,
    #[cache_write(keys = ["plain:<id>"])] write_plain);
family!("through", at, id:
    #[cache_read(key = "through:<id>", tags = ["h:<id>"], lock = true, lock_ttl = "1s", wait = "2s")] through,
    #[cache_write(tags = ["h:<id>"], put = through(at, id))] write_through);
family!("late", at, id:
    #[cache_read(key = "late:<id>", tags = ["l:<result.id>"], lock = true, lock_ttl = "1s", wait = "2s")] late,
    #[cache_write(tags = ["l:<id>"])] write_late);
family!("recached", at, id:
    #[cache_read(key = "recached:<id>", tags = ["r:<id>"], lock = true, lock_ttl = "1s", wait = "2s")] recached,
    #[cache_write(tags = ["r:<id>"], recache = [recached(at, id)])] write_recached);
family!("strict", at, id:
    #[cache_read(key = "strict:<id>", tags = ["s:<id>"], on_error = fail, lock = true, lock_ttl = "1s", wait = "2s")] strict,
    #[cache_write(tags = ["s:<id>"], on_error = fail)] write_strict);

// A mark outlasts whatever keeps its writer from renewing it.
family!("fenced", at, id:
    #[cache_read(key = "fenced:<id>", tags = ["f:<id>"], lock = true, lock_ttl = "1s", wait = "2s")] fenced,
    #[cache_write(tags = ["f:<id>"], fence = "3s", on_error = fail)] write_fenced);

/// Reads a row.
pub(crate) async fn read(at: &At, family: &str, id: u64) -> Done {
    match family {
        "tagged" => tagged(at, id).await,
        "plain" => plain(at, id).await,
        "through" => through(at, id).await,
        "late" => late(at, id).await,
        "recached" => recached(at, id).await,
        "strict" => strict(at, id).await,
        "fenced" => fenced(at, id).await,
        _ => panic!("no family {family}"),
    }
}

/// Writes a row.
pub(crate) async fn write(at: &At, family: &str, id: u64) -> Done {
    match family {
        "tagged" => write_tagged(at, id).await,
        "plain" => write_plain(at, id).await,
        "through" => write_through(at, id).await,
        "late" => write_late(at, id).await,
        "recached" => write_recached(at, id).await,
        "strict" => write_strict(at, id).await,
        "fenced" => write_fenced(at, id).await,
        _ => panic!("no family {family}"),
    }
}
