//! Cells, and the set of them that a record depends on. Who makes and kills them is `tags`' business.

use std::sync::Arc;

use crate::sync::{AtomicBool, Ordering};

/// The validity of everything that was loaded under one tag since its last invalidation.
#[derive(Debug)]
pub(crate) struct Cell {
    live: AtomicBool,
}

impl Cell {
    pub(crate) fn new(live: bool) -> Arc<Self> {
        Arc::new(Self { live: AtomicBool::new(live) })
    }

    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    pub(crate) fn kill(&self) {
        self.live.store(false, Ordering::Release);
    }
}

/// The cells a record depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellSet(smallvec::SmallVec<[Arc<Cell>; 5]>);

impl CellSet {
    /// Whether nothing that the record depends on was invalidated: one load per cell, no look-up.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.0.iter().all(|cell| cell.is_live())
    }

    pub(crate) fn push(&mut self, cell: Arc<Cell>) {
        if !self.0.iter().any(|known| Arc::ptr_eq(known, &cell)) {
            self.0.push(cell);
        }
    }
}
