//! The numbers of each second as server-sent events, as long as somebody looks.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::stream::unfold;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// After so many the stream ends, and the browser asks again by itself. A server that shuts down gracefully waits for its
/// last response: it would wait for a stream without an end for ever.
const EVENTS: u32 = 10;

pub(super) async fn events(state: Shared) -> impl IntoResponse {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = unfold((state, ticks, 0), |(state, mut ticks, sent)| async move {
        if sent >= EVENTS || (sent > 0 && state.view.is_over()) {
            return None;
        }
        ticks.tick().await;
        let numbers = state.view.now().await;
        // The browser waits so long before it asks again: less than a tick, so that none is missed.
        let event = Event::default().event("numbers").retry(EVERY).data(&numbers.all);
        Some((Ok::<_, Infallible>(event), (state, ticks, sent + 1)))
    });
    Sse::new(stream)
}
