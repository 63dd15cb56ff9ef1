//! What a request asks of the cache: nothing at all, or a key. Pure but for the closures of the layer's user.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PROXY_AUTHORIZATION, RANGE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use super::directive::Directives;
use super::entry::{Variant, variant};
use super::query::canonical;
use super::rule::{Credentials, Rules};
use super::status::Forward;
use crate::key::KeyWriter;
use crate::policy::Lifetime;

/// What is to be looked up for a request.
#[derive(Debug)]
pub(super) struct Plan {
    host: Box<str>,
    path: Box<str>,
    query: Option<Box<str>>,
    /// Of headers that are in every key.
    keyed: Option<Variant>,
    pub(super) is_head: bool,
    pub(super) wants: Directives,
    pub(super) tags: Vec<Box<str>>,
    pub(super) namespace: Option<String>,
    pub(super) life: Lifetime,
    /// Whether it has credentials that are not in the key.
    pub(super) is_authorized: bool,
}

/// Why a request is not looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) forward: Forward,
    pub(super) detail: Option<&'static str>,
    /// Whether it may have changed what is kept (RFC 9111, section 4.4).
    pub(super) is_unsafe: bool,
}

const PAST: Past = Past { forward: Forward::Bypass, detail: None, is_unsafe: false };

fn past(detail: &'static str) -> Past {
    Past { detail: Some(detail), ..PAST }
}

impl Plan {
    /// What to look up, or why not. `is_empty`: the request has no body.
    pub(super) fn of(rules: &Rules, parts: &Parts, is_empty: bool) -> Result<Self, Past> {
        let headers = &parts.headers;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            let is_unsafe = !matches!(parts.method, Method::OPTIONS | Method::TRACE | Method::CONNECT);
            return Err(Past { forward: Forward::Method, is_unsafe, ..PAST });
        }
        if !is_empty || headers.contains_key(TRANSFER_ENCODING) || has_length(headers) {
            return Err(past("body"));
        }
        for (name, detail) in [
            (RANGE, "range"),
            (IF_RANGE, "range"),
            (UPGRADE, "upgrade"),
            (IF_MATCH, "precondition"),
            (IF_UNMODIFIED_SINCE, "precondition"),
            (PROXY_AUTHORIZATION, "authorization"),
        ] {
            if headers.contains_key(name) {
                return Err(past(detail));
            }
        }
        if rules.unkeyed.iter().any(|name| headers.contains_key(name)) {
            return Err(past("unkeyed-header"));
        }
        let mut keyed = rules.key_headers.clone();
        let mut is_authorized = false;
        for (name, credentials, detail) in
            [(AUTHORIZATION, rules.authorization, "authorization"), (COOKIE, rules.cookie, "cookie")]
        {
            match credentials {
                Credentials::Bypass if headers.contains_key(&name) => return Err(past(detail)),
                Credentials::Each => keyed.push(name),
                Credentials::Shared => is_authorized |= name == AUTHORIZATION && headers.contains_key(&name),
                Credentials::Bypass => {}
            }
        }
        let wants = if rules.hears_requests { Directives::of_request(headers) } else { Directives::default() };
        if wants.no_store {
            return Err(past("no-store"));
        }
        let (host, path, query) = target(rules, parts);
        let mut tags: Vec<Box<str>> = Vec::new();
        rules.tags_of.iter().for_each(|of| of(parts, &mut |tag| tags.push(tag.into())));
        Ok(Self {
            host,
            path,
            query,
            keyed: keyed.iter().any(|name| headers.contains_key(name)).then(|| variant(&keyed, headers)),
            is_head: parts.method == Method::HEAD,
            wants,
            tags,
            namespace: rules.namespace_of.as_ref().and_then(|of| of(parts)),
            life: rules.life_of.as_ref().and_then(|of| of(parts)).unwrap_or(rules.life),
            is_authorized,
        })
    }

    /// The target of a request that may have changed what is kept there.
    pub(super) fn of_change(rules: &Rules, parts: &Parts) -> Self {
        let (host, path, query) = target(rules, parts);
        Self {
            host,
            path,
            query,
            keyed: None,
            is_head: false,
            wants: Directives::default(),
            tags: Vec::new(),
            namespace: None,
            life: rules.life,
            is_authorized: false,
        }
    }

    /// Whether what is kept has to be new enough, or has to be there.
    pub(super) fn is_choosy(&self) -> bool {
        let Directives { no_cache, max_age, min_fresh, only_if_cached, .. } = self.wants;
        self.is_head || no_cache || max_age.is_some() || min_fresh.is_some() || only_if_cached
    }

    /// The key of the target, whatever the headers say: what a change drops, and the tag of everything that is kept of it.
    pub(super) fn write_target(&self, rules: &Rules, w: &mut KeyWriter) {
        w.lit("http:");
        w.lit(&rules.name);
        w.lit(":");
        w.part(&*self.host);
        w.lit(":");
        w.part(&*self.path);
        w.lit(":");
        w.part(&self.query.as_deref());
    }

    /// The key, with what the request says in the headers that responses so far vary by.
    pub(super) fn write(&self, rules: &Rules, variants: &[Variant], w: &mut KeyWriter) {
        self.write_target(rules, w);
        if self.keyed.is_none() && variants.is_empty() {
            return;
        }
        w.lit(":");
        w.part(&self.keyed.map(u128::from_be_bytes));
        for variant in variants {
            w.lit(":");
            w.part(&u128::from_be_bytes(*variant));
        }
    }

    /// Whether the key is more than the target's.
    pub(super) fn is_variant(&self, variants: &[Variant]) -> bool {
        self.keyed.is_some() || !variants.is_empty()
    }
}

fn has_length(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
}

/// What was asked for. Routers within routers cut the path: what is left of it is not that.
pub(super) fn uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(uri) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &uri.0;
    }
    &parts.uri
}

/// Host, path and query as they select a response.
fn target(rules: &Rules, parts: &Parts) -> (Box<str>, Box<str>, Option<Box<str>>) {
    let uri = uri(parts);
    // A handler may look at either.
    let mut hosts: Vec<String> =
        parts.uri.authority().map(|host| host.as_str().to_ascii_lowercase()).into_iter().collect();
    for host in parts.headers.get_all(HOST) {
        let host = String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let path = match &rules.path_of {
        Some(of) => of(parts),
        None => uri.path().to_owned(),
    };
    let query = uri.query().map(|query| canonical(query, rules.query.as_deref()));
    // Where only some parameters select, none of them is as good as no query.
    let query = query.filter(|query| rules.query.is_none() || !query.is_empty());
    (hosts.join(",").into(), path.into(), query.map(|query| query.into()))
}
