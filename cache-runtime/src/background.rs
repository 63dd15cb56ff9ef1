//! Work that outlives the call that started it: bounded, counted, and waited for when a cache is closed.

use std::future::Future;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Bound on tasks that wait to run or run; past it work is refused.
const LIMIT: usize = 1024;

/// Background tasks of one cache.
#[derive(Debug, Default)]
pub(crate) struct Background {
    tasks: Mutex<JoinSet<()>>,
}

impl Background {
    /// Runs `work` on the current runtime. `false`: there is no runtime, or too much runs already.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= LIMIT {
            return false;
        }
        tasks.spawn_on(work, &runtime);
        true
    }

    /// Waits for what runs.
    pub(crate) async fn drain(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// How many tasks were started and have not been seen to end.
    pub(crate) fn len(&self) -> usize {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.len()
    }
}
