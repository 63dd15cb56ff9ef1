//! What a request asks of the cache: nothing at all, or a key. Pure but for the closures of the layer's user.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PROXY_AUTHORIZATION, RANGE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use super::directive::Directives;
use super::entry::{Variant, keyed};
use super::query::canonical;
use super::rule::{Credentials, Rules};
use super::status::Forward;
use crate::key::KeyWriter;
use crate::policy::Lifetime;

/// What a request is for, whatever its headers say: what a change drops, and the tag of everything that is kept of it.
#[derive(Debug)]
pub(super) struct Target {
    host: Box<str>,
    path: Box<str>,
    query: Option<Box<str>>,
}

/// What is to be looked up for a request.
#[derive(Debug)]
pub(super) struct Plan {
    target: Target,
    /// Of headers that are in every key, and of how the request names scheme and host.
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
        let mut headers_in = rules.key_headers.clone();
        let mut is_authorized = false;
        for (name, credentials, detail) in
            [(AUTHORIZATION, rules.authorization, "authorization"), (COOKIE, rules.cookie, "cookie")]
        {
            match credentials {
                Credentials::Bypass if headers.contains_key(&name) => return Err(past(detail)),
                Credentials::Each => headers_in.push(name),
                Credentials::Shared => is_authorized |= name == AUTHORIZATION && headers.contains_key(&name),
                Credentials::Bypass => {}
            }
        }
        let wants = if rules.hears_requests { Directives::of_request(headers) } else { Directives::default() };
        if wants.no_store {
            return Err(past("no-store"));
        }
        let address = Address::of(parts);
        if address.has_user() {
            return Err(past("authorization"));
        }
        if address.is_torn() {
            return Err(past("host"));
        }
        let mut tags: Vec<Box<str>> = Vec::new();
        rules.tags_of.iter().for_each(|of| of(parts, &mut |tag| tags.push(tag.into())));
        let is_keyed = !address.is_plain() || headers_in.iter().any(|name| headers.contains_key(name));
        Ok(Self {
            target: Target::of(rules, parts, address.host()),
            keyed: is_keyed.then(|| keyed(&headers_in, headers, address.said())),
            is_head: parts.method == Method::HEAD,
            wants,
            tags,
            namespace: rules.namespace_of.as_ref().and_then(|of| of(parts)),
            life: rules.life_of.as_ref().and_then(|of| of(parts)).unwrap_or(rules.life),
            is_authorized,
        })
    }

    /// Whether what is kept has to be new enough, or has to be there.
    pub(super) fn is_choosy(&self) -> bool {
        let Directives { no_cache, max_age, min_fresh, only_if_cached, .. } = self.wants;
        self.is_head || no_cache || max_age.is_some() || min_fresh.is_some() || only_if_cached
    }

    /// The key, with what the request says in the headers that responses so far vary by.
    pub(super) fn write(&self, rules: &Rules, variants: &[Variant], w: &mut KeyWriter) {
        self.target.write(rules, w);
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

    /// What it is for.
    pub(super) fn target(&self) -> &Target {
        &self.target
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

impl Target {
    /// Path and query as they select a response, of this host.
    fn of(rules: &Rules, parts: &Parts, host: &str) -> Self {
        let uri = uri(parts);
        let path = match &rules.path_of {
            Some(of) => of(parts),
            None => uri.path().to_owned(),
        };
        let query = uri.query().map(|query| canonical(query, rules.query.as_deref()));
        // Where only some parameters select, none of them is as good as no query.
        let query = query.filter(|query| rules.query.is_none() || !query.is_empty());
        Self { host: host.into(), path: path.into(), query: query.map(|query| query.into()) }
    }

    /// What a request may have changed: where it names several hosts, nobody knows which of them its handler took it for.
    pub(super) fn of_change(rules: &Rules, parts: &Parts) -> Vec<Self> {
        let address = Address::of(parts);
        let mut hosts: Vec<&str> = address.hosts().collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.is_empty() {
            hosts.push("");
        }
        hosts.into_iter().map(|host| Self::of(rules, parts, host)).collect()
    }

    /// Writes its key.
    pub(super) fn write(&self, rules: &Rules, w: &mut KeyWriter) {
        w.lit("http:");
        w.lit(&rules.name);
        w.lit(":");
        w.part(&*self.host);
        w.lit(":");
        w.part(&*self.path);
        w.lit(":");
        w.part(&self.query.as_deref());
    }
}

/// Scheme and host as a request names them: with `Host`, with its target (absolute form, HTTP/2), or with both. A handler may
/// look at either, so one that named them otherwise is not served the same response.
struct Address {
    /// Scheme and authority, as the request has them and as routers pass them on.
    uris: Vec<[String; 2]>,
    /// What `Host` says.
    named: Vec<String>,
}

impl Address {
    fn of(parts: &Parts) -> Self {
        let mut uris = Vec::new();
        for uri in [uri(parts), &parts.uri] {
            let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
            let authority = uri.authority().map_or_else(String::new, |host| host.as_str().to_ascii_lowercase());
            let both = [scheme, authority];
            if both.iter().any(|text| !text.is_empty()) && !uris.contains(&both) {
                uris.push(both);
            }
        }
        let hosts = parts.headers.get_all(HOST).iter();
        let named = hosts.map(|host| String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase()).collect();
        Self { uris, named }
    }

    /// Whether it is one `Host`, as in most requests, or nothing at all.
    fn is_plain(&self) -> bool {
        self.uris.is_empty()
    }

    /// Whether it names two, of which the handler may take either.
    fn is_torn(&self) -> bool {
        self.uris.len() > 1
            || self.named.len() > 1
            || self.hosts().zip(self.hosts().skip(1)).any(|(one, other)| one != other)
    }

    /// Whether it names who asks.
    fn has_user(&self) -> bool {
        self.uris.iter().any(|[_, authority]| authority.contains('@'))
    }

    fn hosts(&self) -> impl Iterator<Item = &str> {
        let authorities = self.uris.iter().map(|[_, authority]| authority.rsplit('@').next().unwrap_or_default());
        authorities.filter(|authority| !authority.is_empty()).chain(self.named.iter().map(String::as_str))
    }

    fn host(&self) -> &str {
        self.hosts().next().unwrap_or_default()
    }

    /// What it says beyond the host itself.
    fn said(&self) -> impl Iterator<Item = &str> {
        let uris = self.uris.iter().flatten().map(String::as_str);
        uris.chain(self.named.iter().map(String::as_str)).filter(|_| !self.is_plain())
    }
}
