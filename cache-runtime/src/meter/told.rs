//! The same with the feature. Handles are kept, so that passing a number on is an addition; whoever records now is compared
//! with who recorded when the handle was made, so that a recorder that is installed later is told from the next number on.

use std::fmt;
use std::sync::{Arc, OnceLock};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit, with_recorder};

use super::Operation;
use super::name::{DURATION, Metric};
use crate::clock::Nanos;

static METADATA: Metadata<'static> = Metadata::new("cache_runtime", Level::INFO, Some("cache_runtime"));

/// Handles that are kept: one from before a recorder was installed, which tells nobody, and the recorder's.
const KEPT: usize = 2;

/// A handle, and where the recorder is that it came from. The program's recorder stays where it is; a test's own for a thread may
/// take the place of one that is gone, and would be taken for it.
struct Handle<H> {
    recorder: usize,
    handle: H,
}

/// The handles of one series.
struct Handles<H>([OnceLock<Handle<H>>; KEPT]);

impl<H> Default for Handles<H> {
    fn default() -> Self {
        Self(Default::default())
    }
}

impl<H> Handles<H> {
    /// Uses the handle of whoever records now. One recorder more than are kept, as a test's own for a thread may be, is
    /// asked every time.
    #[inline]
    fn with(&self, make: impl Fn(&dyn Recorder) -> H, work: impl Fn(&H)) {
        with_recorder(|recorder| {
            let address = std::ptr::from_ref(recorder).cast::<()>().addr();
            match self.0[0].get() {
                Some(kept) if kept.recorder == address => work(&kept.handle),
                _ => self.with_another(recorder, address, make, work),
            }
        });
    }

    #[cold]
    fn with_another(
        &self,
        recorder: &dyn Recorder,
        recorder_address: usize,
        make: impl Fn(&dyn Recorder) -> H,
        work: impl Fn(&H),
    ) {
        for place in &self.0 {
            let kept = place.get_or_init(|| Handle { recorder: recorder_address, handle: make(recorder) });
            if kept.recorder == recorder_address {
                return work(&kept.handle);
            }
        }
        work(&make(recorder));
    }
}

/// What one cache tells.
#[derive(Clone)]
pub(crate) struct Scope(Arc<Names>);

struct Names {
    prefix: String,
    /// The cache's prefix and version: what its gauges are told apart by.
    cache: SharedString,
    durations: [Handles<metrics::Histogram>; Operation::ALL.len()],
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

impl Names {
    fn name(&self, metric: Metric) -> KeyName {
        KeyName::from(format!("{}_{}", self.prefix, metric.name))
    }

    fn key(&self, metric: Metric, labels: Vec<Label>) -> Key {
        Key::from_parts(self.name(metric), labels)
    }
}

impl Scope {
    pub(crate) fn new(prefix: &str, cache: &str) -> Self {
        let names = Names {
            prefix: prefix.to_owned(),
            cache: cache.to_owned().into(),
            durations: std::array::from_fn(|_| Handles::default()),
        };
        Self(Arc::new(names))
    }

    pub(crate) fn function(&self, resource: &str) -> Function {
        Function { names: Arc::clone(&self.0), resource: resource.to_owned().into() }
    }

    /// A counter of the whole cache.
    pub(crate) fn counter(&self, metric: Metric, cause: Option<&'static str>) -> Counter {
        let labels = cause.map(|cause| Label::new("cause", cause)).into_iter().collect();
        Counter::of(Series { names: Arc::clone(&self.0), metric, labels })
    }

    /// An operation took so long.
    pub(crate) fn took(&self, operation: Operation, nanos: Nanos) {
        self.0.took(operation, nanos);
    }

    /// How it is now.
    pub(crate) fn gauge(&self, metric: Metric, label: Option<(&'static str, &str)>, value: f64) {
        let names = &self.0;
        let mut labels = vec![Label::new("cache", names.cache.clone())];
        labels.extend(label.map(|(name, value)| Label::new(name, value.to_owned())));
        with_recorder(|recorder| {
            recorder.describe_gauge(names.name(metric), None, metric.help.into());
            recorder.register_gauge(&names.key(metric, labels), &METADATA).set(value);
        });
    }
}

impl Names {
    fn took(&self, operation: Operation, nanos: Nanos) {
        let make = |recorder: &dyn Recorder| {
            recorder.describe_histogram(self.name(DURATION), Some(Unit::Seconds), DURATION.help.into());
            let labels = vec![Label::new("operation", operation.name())];
            recorder.register_histogram(&self.key(DURATION, labels), &METADATA)
        };
        let at = Operation::ALL.iter().position(|of| *of == operation).unwrap_or_default();
        self.durations[at].with(make, |histogram| histogram.record(nanos as f64 / 1e9));
    }
}

/// What one function of a cache tells.
#[derive(Clone)]
pub(crate) struct Function {
    names: Arc<Names>,
    resource: SharedString,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.resource).finish()
    }
}

impl Function {
    /// One of its counters.
    pub(crate) fn counter(&self, metric: Metric, cause: Option<&'static str>) -> Counter {
        let mut labels = vec![Label::new("resource_type", self.resource.clone())];
        labels.extend(cause.map(|cause| Label::new("cause", cause)));
        Counter::of(Series { names: Arc::clone(&self.names), metric, labels })
    }

    /// An operation of it took so long.
    pub(crate) fn took(&self, operation: Operation, nanos: Nanos) {
        self.names.took(operation, nanos);
    }
}

/// One counter. Without a series it tells nobody.
#[derive(Default)]
pub(crate) struct Counter {
    series: Option<Box<Series>>,
    handles: Handles<metrics::Counter>,
}

struct Series {
    names: Arc<Names>,
    metric: Metric,
    labels: Vec<Label>,
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.series.as_ref().map(|series| series.metric.name)).finish()
    }
}

impl Counter {
    fn of(series: Series) -> Self {
        Self { series: Some(Box::new(series)), handles: Handles::default() }
    }

    /// Passes a number on. None at all makes the series known.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        if let Some(series) = &self.series {
            self.handles.with(|recorder| series.register(recorder), |counter| counter.increment(n));
        }
    }
}

impl Series {
    #[cold]
    fn register(&self, recorder: &dyn Recorder) -> metrics::Counter {
        recorder.describe_counter(self.names.name(self.metric), Some(Unit::Count), self.metric.help.into());
        recorder.register_counter(&self.names.key(self.metric, self.labels.clone()), &METADATA)
    }
}
