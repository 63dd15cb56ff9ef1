//! The body of a response that went through the layer: kept bytes, or the handler's own body, of which some may have been
//! read. And reading one within bounds.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::clock::Nanos;
use crate::timer::within;

/// Whatever a body fails with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response that went through a [`CacheLayer`](super::CacheLayer): bytes from the cache, or the handler's own
/// body `B`.
pub struct Body<B>(Inner<B>);

enum Inner<B> {
    Whole(Option<Bytes>),
    Through {
        /// What was read before it was known that the body is not to be kept.
        before: VecDeque<Frame<Bytes>>,
        /// How reading ended, if it failed.
        failed: Option<BoxError>,
        /// Whether who sends it was given the time to send what came before the failure.
        is_sent: bool,
        rest: Option<Pin<Box<B>>>,
    },
}

impl<B> fmt::Debug for Body<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Whole(_) => "Body(kept)",
            Inner::Through { .. } => "Body(passed through)",
        })
    }
}

impl<B> Body<B> {
    /// Bytes from the cache.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Inner::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// The handler's own.
    pub(super) fn through(body: B) -> Self {
        Self(Inner::Through { before: VecDeque::new(), failed: None, is_sent: false, rest: Some(Box::pin(body)) })
    }
}

impl<B> HttpBody for Body<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Inner::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Through { before, failed, is_sent, rest } => {
                if let Some(frame) = before.pop_front() {
                    return Poll::Ready(Some(Ok(frame)));
                }
                if failed.is_some() && !std::mem::replace(is_sent, true) {
                    // A server that is told at once drops the connection with everything that it has not sent yet.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if let Some(error) = failed.take() {
                    return Poll::Ready(Some(Err(error)));
                }
                let Some(body) = rest else { return Poll::Ready(None) };
                let frame = ready!(body.as_mut().poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map(flat).map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_none(),
            Inner::Through { before, failed, rest, .. } => {
                before.is_empty() && failed.is_none() && rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Inner::Through { before, failed, rest, .. } => {
                let read: u64 = before.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
                let rest = rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.size_hint());
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(read));
                // One that fails has no length: whoever is told one would not see that it ends too early.
                let upper = rest.upper().filter(|_| failed.is_none());
                if let Some(upper) = upper.and_then(|upper| upper.checked_add(read)) {
                    hint.set_upper(upper);
                }
                hint
            }
        }
    }
}

fn flat<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

/// Why a body is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unkept {
    /// It is longer than the limit, has trailers, or comes slowly.
    Open,
    /// It ended with an error.
    Failed,
}

/// Reads a whole body, unless that is longer than `limit` bytes or takes until `deadline`. What was read by then comes with
/// what is left.
pub(super) async fn read<B>(body: B, limit: usize, deadline: Nanos) -> Result<Bytes, (Body<B>, Unkept)>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let mut body = Box::pin(body);
    let mut before = VecDeque::new();
    let mut length = 0;
    let is_long = |length: usize, rest: &SizeHint| {
        u64::try_from(length).unwrap_or(u64::MAX).saturating_add(rest.lower()) > limit as u64
    };
    let (failed, rest, why) = loop {
        if is_long(length, &body.size_hint()) {
            break (None, Some(body), Unkept::Open);
        }
        let Some(frame) = within(deadline, body.frame()).await else { break (None, Some(body), Unkept::Open) };
        match frame {
            None => return Ok(joined(before)),
            Some(Err(error)) => break (Some(error.into()), None, Unkept::Failed),
            Some(Ok(frame)) => {
                let frame = flat(frame);
                let is_data = frame.is_data();
                length += frame.data_ref().map_or(0, Bytes::len);
                before.push_back(frame);
                if !is_data {
                    break (None, Some(body), Unkept::Open);
                }
            }
        }
    };
    Err((Body(Inner::Through { before, failed, is_sent: false, rest }), why))
}

fn joined(frames: VecDeque<Frame<Bytes>>) -> Bytes {
    let mut data = frames.into_iter().filter_map(|frame| frame.into_data().ok());
    let Some(first) = data.next() else { return Bytes::new() };
    let Some(second) = data.next() else { return first };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    data.for_each(|data| all.extend_from_slice(&data));
    all.freeze()
}
