//! One request on its way: kept responses by level, the right to load one, and the handler. Who loads, who waits, what is
//! stored and what is still valid is the engine's.
//!
//! # Levels
//!
//! The first key has nothing of the headers. What is under it says by which headers it varies; a request that says something
//! else in these goes on to the key that has its values, and so on. So the most frequent case, one variant, is one look-up.
//!
//! # What others are given
//!
//! A request that waits for another one's load is given its response only where that may be kept. Where it may not, the
//! engine hands out that there is none ([`Entry::Uncacheable`], [`Failed`]), and everybody who waited goes to the handler.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use parking_lot::Mutex;
use tower_service::Service;

use super::body::{self, Body, BoxError, Unkept};
use super::entry::{Conditions, Entry, Failed, Kept, Said, Shape, Times, at, shape};
use super::extension::{FromLayer, KeepFor, Tags};
use super::judge::{self, Defaults, Refusal};
use super::request::{Past, Plan, Target};
use super::rule::Rules;
use super::status::{Forward, Outcome};
use super::tenant::MadeFor;
use crate::clock::{after, alive_now};
use crate::engine::aging::{Ask, Run};
use crate::engine::call::{Call, logical_key};
use crate::engine::core::Core;
use crate::engine::load::Fill;
use crate::engine::read::Mode;
use crate::engine::sink::Early;
use crate::key::KeyWriter;
use crate::policy::{Jitter, Lifetime};
use crate::site::Site;

/// How many times a response may say that it varies by other headers than the last one said.
const LEVELS: usize = 4;

/// What a handler answers, with the body as it leaves the layer.
pub(super) type Answer<RB, E> = Result<Response<Body<RB>>, E>;

/// A request and who handles it.
struct Exchange<S, B> {
    service: S,
    request: Request<B>,
}

/// What is handed between a request and the load that it began, which may go on without it.
struct Seat<S, B, RB, E> {
    exchange: Option<Exchange<S, B>>,
    /// What the handler said, where it is not kept.
    answer: Option<Answer<RB, E>>,
    why: Option<&'static str>,
    /// What it made, where it is.
    made: Option<Arc<Entry>>,
    /// Whether what the handler said is for this request alone, and says nothing of what others are served.
    is_own: bool,
}

/// Where the response of a request is kept, and whether what is there is of use to its load.
struct Place {
    key: KeyWriter,
    early: Early,
    /// The request's.
    headers: HeaderMap,
    forward: Forward,
    /// Whether the handler may confirm what is there.
    has_old: bool,
}

impl Place {
    /// What is there, however old, if it is this request's.
    async fn kept(&self, call: &Call<'_>) -> Option<Arc<Entry>> {
        let entry = call.kept_now(&self.key, &self.early, shape()).await?.ok()?;
        matches!(&*entry, Entry::Kept(kept) if kept.fits(&self.headers)).then_some(entry)
    }

    /// Has a request ask the handler whether what is there still holds. Looked up within the load: what was invalidated before
    /// that began is not there, and what is invalidated later is refused with the load (invariant 1).
    async fn asked_about(&self, call: &Call<'_>, request: &mut HeaderMap) -> Option<Arc<Entry>> {
        let entry = if self.has_old { self.kept(call).await? } else { return None };
        matches!(&*entry, Entry::Kept(kept) if kept.ask_about(request)).then_some(entry)
    }
}

/// Everything about one request that does not change.
struct Visit<'r> {
    rules: &'r Arc<Rules>,
    site: &'static Site,
    call: Call<'static>,
    plan: Arc<Plan>,
    arrived_ms: u64,
}

/// Answers a request.
pub(super) async fn serve<S, B, RB>(
    rules: Arc<Rules>,
    site: &'static Site,
    service: S,
    request: Request<B>,
) -> Answer<RB, S::Error>
where
    S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    B: HttpBody + Send + 'static,
    RB: HttpBody + Send + 'static,
    RB::Error: Into<BoxError>,
{
    let call = rules.call(site);
    let is_empty = request.body().is_end_stream() || request.body().size_hint().exact() == Some(0);
    let (parts, body) = request.into_parts();
    let plan = Plan::of(&rules, &parts, is_empty);
    let change = match &plan {
        Err(Past { is_unsafe: true, .. }) => Some(Target::of_change(&rules, &parts)),
        _ => None,
    };
    let exchange = Exchange { service, request: Request::from_parts(parts, body) };
    let plan = match plan {
        Ok(plan) => Arc::new(plan),
        Err(Past { forward, detail, .. }) => {
            let mut change = change.map(|change| Change::new(&rules, &call, &change));
            let answer = pass(&rules, exchange, forward, detail).await;
            let status = answer.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, Response::status);
            if let Some(change) = &mut change {
                if status.is_success() || status.is_redirection() {
                    Box::pin(change.happened()).await;
                }
                change.is_open = false;
            }
            return answer;
        }
    };
    let Some(core) = call.core() else {
        call.degraded();
        return pass(&rules, exchange, Forward::Bypass, Some("no-cache-usable")).await;
    };
    let arrived_ms = wall_ms(core);
    Visit { rules: &rules, site, call, plan, arrived_ms }.answer(exchange).await
}

/// Milliseconds of the wall clock, by the cache's own clock.
fn wall_ms(core: &Core) -> u64 {
    let wall = core.settings.clock.wall(core.now());
    let since = wall.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Calls the handler.
async fn pass<S, B, RB>(
    rules: &Rules,
    exchange: Exchange<S, B>,
    forward: Forward,
    detail: Option<&'static str>,
) -> Answer<RB, S::Error>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    let Exchange { mut service, request } = exchange;
    let mut response = service.call(request).await?.map(Body::through);
    say(rules, Outcome::Forwarded(forward, detail), &mut response);
    Ok(response)
}

/// Nothing is kept, and the request wants nothing else (RFC 9111, section 5.2.1.7).
fn unsatisfied<RB>(rules: &Rules) -> Response<Body<RB>> {
    let mut response = Response::new(Body::whole(Bytes::new()));
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    say(rules, Outcome::Unsatisfied, &mut response);
    response
}

fn say<B>(rules: &Rules, outcome: Outcome, response: &mut Response<B>) {
    if rules.says_status {
        outcome.say(&rules.name, response.headers_mut());
    }
}

/// A request that may change its target: what is kept of that is not believed afterwards (RFC 9111, section 4.4). Also not where
/// nobody knows whether it did: its client went away, or its handler panicked.
struct Change<'c> {
    call: &'c Call<'static>,
    targets: Vec<Box<[u8]>>,
    /// Whether it has begun, and its outcome is unknown.
    is_open: bool,
}

impl<'c> Change<'c> {
    fn new(rules: &Rules, call: &'c Call<'static>, targets: &[Target]) -> Self {
        let key = |target: &Target| logical_key(call.site, |w| target.write(rules, w)).as_str().as_bytes().into();
        Self { call, targets: targets.iter().map(key).collect(), is_open: true }
    }

    /// What cannot be delivered is kept in the outbox, and counted there.
    async fn happened(&self) {
        let _ = self.call.invalidate_tags(&self.targets);
        if let Ok(Some(direct)) = self.call.direct_shared() {
            let _ = direct.invalidate_tags(&self.targets).await;
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if self.is_open {
            let _ = self.call.invalidate_tags(&self.targets);
            if let Ok(Some(direct)) = self.call.direct_shared() {
                direct.invalidate_tags_later(&self.targets);
            }
        }
    }
}

impl Visit<'_> {
    async fn answer<S, B, RB>(self, exchange: Exchange<S, B>) -> Answer<RB, S::Error>
    where
        S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
        S::Error: Send + 'static,
        S::Future: Send + 'static,
        B: HttpBody + Send + 'static,
        RB: HttpBody + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        let (rules, plan) = (self.rules, &self.plan);
        let mut variants = Vec::new();
        // Set where what is there is too old for this request.
        let mut mode = Mode::Read;
        while variants.len() < LEVELS {
            let headers = exchange.request.headers();
            let key = self.call.key(|w| plan.write(rules, &variants, w));
            let miss = if variants.is_empty() { Forward::UriMiss } else { Forward::VaryMiss };
            if plan.is_choosy() && mode == Mode::Read {
                match Box::pin(self.peek(&key)).await.as_deref() {
                    Some(Entry::Kept(kept)) if !kept.fits(headers) => {
                        variants.push(kept.variant_of(headers));
                        continue;
                    }
                    Some(Entry::Kept(kept)) if kept.satisfies(&plan.wants, self.now_ms()) => {
                        self.count_hit();
                        return Ok(self.respond(kept, &Conditions::of(headers)));
                    }
                    _ if plan.wants.only_if_cached => return Ok(unsatisfied(rules)),
                    // Its response has no body to keep.
                    _ if plan.is_head => return pass(rules, exchange, miss, None).await,
                    None if !plan.wants.no_cache => {}
                    _ => mode = Mode::Refresh,
                }
            }
            let hit = if mode == Mode::Read { self.call.hit_under(&key, shape()) } else { None };
            let ask = match hit {
                Some(ret) => Ask::Done(ret),
                // A hit in memory is not to carry what a miss needs: futures are moved.
                None => Box::pin(self.call.ask(mode, &key, self.early(&variants), shape())).await,
            };
            let found = match ask {
                Ask::Done(found) => found,
                Ask::Run(run) => {
                    if let Some(Ok(old)) = run.old()
                        && let Entry::Kept(kept) = &**old
                    {
                        if !kept.fits(headers) {
                            // An old response of somebody else's: that one is not refreshed by this request.
                            variants.push(kept.variant_of(headers));
                            mode = Mode::Read;
                            continue;
                        }
                        if mode == Mode::Read && !kept.satisfies(&plan.wants, self.now_ms()) {
                            mode = Mode::Refresh;
                            continue;
                        }
                    }
                    let forward = if mode == Mode::Refresh { Forward::Request } else { miss };
                    let (early, headers, has_old) = (self.early(&variants), headers.clone(), run.old().is_some());
                    let place = Arc::new(Place { key, early, headers, forward, has_old });
                    return Box::pin(self.load(run, exchange, place)).await;
                }
            };
            match found.as_deref() {
                Ok(Entry::Kept(kept)) if !kept.fits(headers) => {
                    variants.push(kept.variant_of(headers));
                    mode = Mode::Read;
                }
                Ok(Entry::Kept(kept)) if mode == Mode::Read && !kept.satisfies(&plan.wants, self.now_ms()) => {
                    mode = Mode::Refresh;
                }
                Ok(Entry::Kept(kept)) => return Ok(self.respond(kept, &Conditions::of(headers))),
                Ok(Entry::Uncacheable) => return pass(rules, exchange, miss, Some("uncacheable")).await,
                Err(Failed) => return pass(rules, exchange, miss, None).await,
            }
        }
        if plan.wants.only_if_cached {
            return Ok(unsatisfied(rules));
        }
        pass(rules, exchange, Forward::VaryMiss, Some("vary")).await
    }

    fn now_ms(&self) -> u64 {
        self.call.core().map_or(0, |core| wall_ms(core))
    }

    fn count_hit(&self) {
        if let Some(counters) = self.call.function().and_then(|function| function.tally()) {
            counters.late_hit();
        }
    }

    /// What is kept under a key, if it is fresh.
    async fn peek(&self, key: &KeyWriter) -> Option<Arc<Entry>> {
        match self.call.direct_shared().ok()? {
            Some(direct) => direct.peek(key, crate::shape::Cached::handling(shape())).await.ok()?,
            None => self.call.glance(key, shape())?.ok(),
        }
    }

    /// What is known of the entry before it is loaded.
    fn early(&self, variants: &[super::entry::Variant]) -> Early {
        let (rules, plan) = (self.rules, &self.plan);
        let mut early = self.call.early();
        early.tags(|tags| {
            tags.add(plan.tags.iter().map(|tag| &**tag));
            if plan.is_variant(variants) {
                tags.add(logical_key(self.site, |w| plan.target().write(rules, w)));
            }
        });
        if let Some(namespace) = &plan.namespace {
            early.namespace_expr(namespace);
        }
        early
    }

    fn respond<RB>(&self, kept: &Kept, conditions: &Conditions) -> Response<Body<RB>> {
        let now_ms = self.now_ms();
        let mut response = kept.respond(conditions, self.plan.is_head, now_ms);
        // What was made since this request arrived was made by one that it waited for.
        let is_later = kept.made_ms() > self.arrived_ms;
        let outcome = if is_later { Outcome::Collapsed } else { Outcome::Hit { ttl: kept.ttl(now_ms) } };
        say(self.rules, outcome, &mut response);
        response
    }

    /// What is kept, for a request that wanted something new of a handler that failed.
    async fn fall_back<RB>(&self, place: &Place, conditions: &Conditions) -> Option<Response<Body<RB>>> {
        let entry = place.kept(&self.call).await?;
        match &*entry {
            Entry::Kept(kept) if kept.outlasts_failures(self.now_ms()) => Some(self.respond(kept, conditions)),
            _ => None,
        }
    }

    /// Has the handler's response kept, or what is old served meanwhile.
    async fn load<S, B, RB>(self, run: Run<Shape>, exchange: Exchange<S, B>, place: Arc<Place>) -> Answer<RB, S::Error>
    where
        S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
        S::Error: Send + 'static,
        S::Future: Send + 'static,
        B: HttpBody + Send + 'static,
        RB: HttpBody + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        let (forward, conditions) = (place.forward, Conditions::of(&place.headers));
        let seat =
            Arc::new(Mutex::new(Seat { exchange: Some(exchange), answer: None, why: None, made: None, is_own: false }));
        let (drive, loading) = run.split();
        let work = {
            let (rules, plan, seat) = (Arc::clone(self.rules), Arc::clone(&self.plan), Arc::clone(&seat));
            let place = Arc::clone(&place);
            async move {
                let (at, loader) = loading.split();
                let load = loader.begin(&at).await?;
                let exchange = { seat.lock().exchange.take() }?;
                let mut done = load.run(produce(&rules, &plan, &at, exchange, &place, &seat)).await;
                if seat.lock().is_own {
                    done.withdraw();
                    return None;
                }
                done.on_value(|entry, fill| terms(&rules, &at, entry, fill));
                Some(done.finish().await)
            }
        };
        let driven = drive.anywhere(work).await;
        let made = { seat.lock().made.take() };
        if let Ok(Ok(entry)) = &driven
            && let Entry::Kept(kept) = &**entry
        {
            let is_own = made.is_some_and(|made| Arc::ptr_eq(&made, entry));
            let now_ms = self.now_ms();
            let mut response = kept.respond(&conditions, self.plan.is_head, now_ms);
            let outcome = if is_own { Outcome::Stored(forward) } else { Outcome::Hit { ttl: kept.ttl(now_ms) } };
            say(self.rules, outcome, &mut response);
            return Ok(response);
        }
        // Nobody is served: the load was this request's own, or has not begun.
        let (answer, why, left) = {
            let mut seat = seat.lock();
            (seat.answer.take(), seat.why, seat.exchange.take())
        };
        let is_failure = |response: &Response<_>| judge::is_failure(response.status());
        if forward == Forward::Request
            && answer.as_ref().is_some_and(|answer| answer.as_ref().map_or(true, is_failure))
            && let Some(response) = Box::pin(self.fall_back(&place, &conditions)).await
        {
            return Ok(response);
        }
        match (answer, left) {
            (Some(answer), _) => answer.map(|mut response| {
                say(self.rules, Outcome::Forwarded(forward, why), &mut response);
                response
            }),
            (None, Some(exchange)) => pass(self.rules, exchange, forward, None).await,
            // The load was given up with the request in it.
            (None, None) => {
                let mut response = Response::new(Body::whole(Bytes::new()));
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                Ok(response)
            }
        }
    }
}

/// What the engine is told of a value.
fn terms(rules: &Rules, at: &Call<'_>, entry: &Entry, fill: &mut Fill<'_>) {
    match entry {
        Entry::Uncacheable => fill.ttl(Lifetime::For(rules.pass_for)),
        Entry::Kept(kept) => {
            fill.ttl(Lifetime::For(kept.left(at.core().map_or(0, |core| wall_ms(core)))));
            fill.add(kept.said().tags.iter().map(|tag| &**tag));
        }
    }
}

/// Calls the handler, and makes what is kept of its response.
async fn produce<S, B, RB>(
    rules: &Rules,
    plan: &Plan,
    at_call: &Call<'_>,
    exchange: Exchange<S, B>,
    place: &Place,
    seat: &Mutex<Seat<S, B, RB, S::Error>>,
) -> Result<Arc<Entry>, Failed>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: HttpBody,
    RB::Error: Into<BoxError>,
{
    let Exchange { mut service, mut request } = exchange;
    Conditions::strip(request.headers_mut());
    let old = Box::pin(place.asked_about(at_call, request.headers_mut())).await;
    let response = match service.call(request).await {
        Ok(response) => response,
        Err(error) => {
            seat.lock().answer = Some(Err(error));
            return Err(Failed);
        }
    };
    let (mut parts, body) = response.into_parts();
    let now_ms = at_call.core().map_or(0, |core| wall_ms(core));
    let mut said = Said {
        tags: parts.extensions.get::<Tags>().map(|tags| tags.0.clone()).unwrap_or_default(),
        keep_for: parts.extensions.get::<KeepFor>().map(|keep| keep.0),
    };
    let defaults = Defaults {
        stale: rules.stale,
        stale_if_error: rules.stale_if_error,
        stores_set_cookie: rules.stores_set_cookie,
        is_authorized: plan.is_authorized,
    };
    // What the handler has confirmed is its response, whatever becomes of it.
    let mut confirmed = None;
    if parts.status == StatusCode::NOT_MODIFIED
        && let Some(Entry::Kept(kept)) = old.as_deref()
    {
        confirmed = kept.confirmed(&mut parts);
        if confirmed.is_none() {
            // The request is gone, and cannot be made again without its conditions.
            (parts.status, parts.headers) = (StatusCode::BAD_GATEWAY, HeaderMap::new());
        } else {
            said.holds_on(kept.said());
            // Also for a layer around this one, where this one does not keep it.
            parts.extensions.insert(Tags(said.tags.clone()));
            said.keep_for.map(|time| parts.extensions.insert(KeepFor(time)));
        }
    }
    let as_it_is = |confirmed: Option<Bytes>, body: RB| confirmed.map_or_else(|| Body::through(body), Body::whole);
    let refuse = |refusal: Refusal, response: Response<Body<RB>>| {
        let mut seat = seat.lock();
        seat.answer = Some(Ok(response));
        let (Refusal::Private(why) | Refusal::Failed(why)) = refusal;
        seat.why = Some(why);
        match refusal {
            Refusal::Private(_) => Ok(Arc::new(Entry::Uncacheable)),
            Refusal::Failed(_) => Err(Failed),
        }
    };
    let is_others = |made: &MadeFor| made.0.is_none() || made.0.as_ref() != at_call.tenant();
    if parts.extensions.get::<MadeFor>().is_some_and(is_others) {
        // The layer that tells tenants apart is within this one: here nobody knows whose response it is.
        let response = Response::from_parts(parts, as_it_is(confirmed, body));
        return refuse(Refusal::Private("tenant"), response);
    }
    if parts.extensions.get::<FromLayer>().is_some() {
        // Another layer keeps it. What it depends on is known there, and not here.
        return refuse(Refusal::Private("kept-within"), Response::from_parts(parts, as_it_is(confirmed, body)));
    }
    let is_error = parts.status.is_client_error() || parts.status.is_server_error();
    let terms = match judge::judge(parts.status, &parts.headers, said.keep_for, &defaults, at(now_ms)) {
        Ok(terms) => terms,
        // What one client brings about by asking for something newer is no reason to forget what all others are served.
        Err(Refusal::Private(why)) if place.forward == Forward::Request && is_error => {
            seat.lock().is_own = true;
            return refuse(Refusal::Failed(why), Response::from_parts(parts, as_it_is(confirmed, body)));
        }
        Err(refusal) => return refuse(refusal, Response::from_parts(parts, as_it_is(confirmed, body))),
    };
    let read = match confirmed {
        Some(body) => Ok(body),
        None => body::read(body, rules.max_body, after(alive_now(), rules.patience)).await,
    };
    let body = match read {
        Ok(body) => body,
        Err((body, why)) => {
            let refusal = match why {
                Unkept::Open => Refusal::Private("body"),
                Unkept::Failed => Refusal::Failed("body"),
            };
            return refuse(refusal, Response::from_parts(parts, body));
        }
    };
    let length = parts.headers.get(CONTENT_LENGTH).map(|length| length.as_bytes() == body.len().to_string().as_bytes());
    if length == Some(false) {
        // It says that there is more, or less, than there is.
        return refuse(Refusal::Failed("body"), Response::from_parts(parts, Body::whole(body)));
    }
    let life = terms.life.or_else(|| own_life(at_call.core()?, plan.life)).unwrap_or_default();
    let times = Times {
        made_ms: now_ms.saturating_sub(u64::try_from(terms.age.as_millis()).unwrap_or(u64::MAX)),
        life,
        stale: terms.stale,
        stale_if_error: terms.stale_if_error,
    };
    judge::strip(&mut parts.headers);
    let kept = Kept::new(parts.status, parts.headers, body, times, terms.vary, &place.headers, said);
    let entry = Arc::new(Entry::Kept(kept));
    seat.lock().made = Some(Arc::clone(&entry));
    Ok(entry)
}

/// How long the layer's own ttl is in this cache.
fn own_life(core: &Core, life: Lifetime) -> Option<std::time::Duration> {
    let now = core.now();
    core.expiry(now, life, Jitter::None).map(|at| std::time::Duration::from_nanos(at.saturating_sub(now)))
}
