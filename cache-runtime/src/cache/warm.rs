//! Warming: running an annotated function for many arguments before anybody asks.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How warming went.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use cache_runtime::{Cache, cache_read};
/// #[cache_read(key = "half:<n>")]
/// async fn half(n: u64) -> Result<u64, String> {
///     if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
/// }
/// # Cache::memory().scope(async {
/// let warmed = half::warm(1..=10, |n| n).await;
/// assert_eq!((warmed.done, warmed.failed), (5, 5));
/// # }).await;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warmed {
    /// Calls that succeeded, found in the cache or loaded.
    pub done: usize,
    /// Calls that returned `Err`.
    pub failed: usize,
}

/// A warm-up that has not run. Nothing happens before `.await`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use cache_runtime::{Cache, cache_read};
///
/// #[cache_read(key = "price:<id>")]
/// async fn price(id: u64) -> u64 {
///     id * 10
/// }
///
/// Cache::memory().scope(async {
///     let warmed = price::warm([1, 2, 3], |id| id).concurrency(2).await;
///     assert_eq!((warmed.done, warmed.failed), (3, 0));
/// }).await;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[must_use = "nothing happens before `.await`"]
pub struct Warm<'w, I> {
    calls: I,
    concurrency: usize,
    progress: Option<Box<dyn FnMut(usize, usize) + Send + 'w>>,
}

impl<I> std::fmt::Debug for Warm<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warm").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}

/// Makes a [`Warm`] of calls that say whether they succeeded.
pub fn warm<'w, I>(calls: I) -> Warm<'w, I>
where
    I: Iterator,
    I::Item: Future<Output = bool>,
{
    Warm { calls, concurrency: 8, progress: None }
}

impl<'w, I> Warm<'w, I> {
    /// How many calls run at once. Default 8, at least 1.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use cache_runtime::{Cache, cache_read};
    /// # #[cache_read(key = "price:<id>")]
    /// # async fn price(id: u64) -> u64 { id * 10 }
    /// # Cache::memory().scope(async {
    /// let warmed = price::warm(1..=100, |id| id).concurrency(2).await;
    /// assert_eq!(warmed.done, 100);
    /// # }).await;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }

    /// Called after each call with how many are done and how many there are (as far as the iterator knows).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use cache_runtime::{Cache, cache_read};
    /// # #[cache_read(key = "price:<id>")]
    /// # async fn price(id: u64) -> u64 { id * 10 }
    /// # Cache::memory().scope(async {
    /// let mut last = (0, 0);
    /// price::warm([1, 2, 3], |id| id).on_progress(|done, all| last = (done, all)).await;
    /// assert_eq!(last, (3, 3));
    /// # }).await;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn on_progress(mut self, progress: impl FnMut(usize, usize) + Send + 'w) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

impl<'w, I> IntoFuture for Warm<'w, I>
where
    I: Iterator,
    I::Item: Future<Output = bool>,
{
    type Output = Warmed;
    type IntoFuture = Warming<'w, I>;
    fn into_future(self) -> Warming<'w, I> {
        let left = self.calls.size_hint();
        let total = left.1.unwrap_or(left.0);
        Warming { warm: self, total, running: Vec::new(), sum: Warmed::default(), exhausted: false }
    }
}

/// The future of a [`Warm`]. Dropping it stops the calls that run; what they stored stays.
pub struct Warming<'w, I: Iterator> {
    warm: Warm<'w, I>,
    total: usize,
    running: Vec<Pin<Box<I::Item>>>,
    sum: Warmed,
    exhausted: bool,
}

impl<I: Iterator> std::fmt::Debug for Warming<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warming").field("running", &self.running.len()).field("sum", &self.sum).finish_non_exhaustive()
    }
}

// Nothing in it is pinned in place: the running calls are boxed, and the iterator is never polled.
impl<I: Iterator> Unpin for Warming<'_, I> {}

impl<I> Future for Warming<'_, I>
where
    I: Iterator,
    I::Item: Future<Output = bool>,
{
    type Output = Warmed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Warmed> {
        let this = self.get_mut();
        loop {
            while !this.exhausted && this.running.len() < this.warm.concurrency {
                match this.warm.calls.next() {
                    Some(call) => this.running.push(Box::pin(call)),
                    None => this.exhausted = true,
                }
            }
            let before = this.running.len();
            let mut index = 0;
            while index < this.running.len() {
                match this.running[index].as_mut().poll(cx) {
                    Poll::Pending => index += 1,
                    Poll::Ready(succeeded) => {
                        drop(this.running.swap_remove(index));
                        if succeeded {
                            this.sum.done += 1;
                        } else {
                            this.sum.failed += 1;
                        }
                        let done = this.sum.done + this.sum.failed;
                        if let Some(progress) = &mut this.warm.progress {
                            progress(done, this.total.max(done));
                        }
                    }
                }
            }
            if this.running.is_empty() && this.exhausted {
                return Poll::Ready(this.sum);
            }
            if this.running.len() == before {
                return Poll::Pending;
            }
        }
    }
}

/// A function's arguments as a tuple. For one parameter, the value alone will do.
pub trait IntoArgs<A> {
    /// The tuple.
    fn into_args(self) -> A;
}

impl<A> IntoArgs<(A,)> for A {
    fn into_args(self) -> (A,) {
        (self,)
    }
}

macro_rules! into_args {
    ($($($name:ident)*;)*) => {
        $(impl<$($name),*> IntoArgs<($($name,)*)> for ($($name,)*) {
            fn into_args(self) -> Self { self }
        })*
    };
}
into_args! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
    A B C D E F G H I;
    A B C D E F G H I J;
    A B C D E F G H I J K;
    A B C D E F G H I J K L;
}
