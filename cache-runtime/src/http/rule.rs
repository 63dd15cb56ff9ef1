//! What a layer was told: the settings behind [`CacheLayer`](super::CacheLayer), and the site that stands for it in the
//! engine.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderName;
use http::request::Parts;
use parking_lot::Mutex;

use crate::cache::Cache;
use crate::cache::context;
use crate::engine::call::{Call, Held};
use crate::policy::Lifetime;
use crate::site::{Site, UNKNOWN};

/// What becomes of requests with credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// They go to the handler, and nothing is kept. The default.
    #[default]
    Bypass,
    /// Each value has responses of its own: the header, hashed, is part of the key.
    Each,
    /// The header is ignored: whoever asks is served what anybody was.
    ///
    /// **Only for handlers whose response does not depend on it.** What it says to one user is shown to all. Responses to
    /// `Authorization` are kept only where they say `public`, `s-maxage` or `must-revalidate` (RFC 9111, section 3.5).
    Shared,
}

/// Headers by which clients, and what stands in front of a service, change what a handler sees of the request, or say who they
/// are, and of which a cache knows nothing: whoever sends one could have its response kept for all. (`Authorization` and `Cookie`
/// have [settings](Credentials) of their own; what is in no header, such as a client's certificate, is in no key
/// either.)
///
/// A request with any of them goes to the handler, and nothing is kept, unless the layer was told of it:
/// [`CacheLayer::key_header`](super::CacheLayer::key_header) where the response depends on it,
/// [`CacheLayer::ignore_header`](super::CacheLayer::ignore_header) where it does not.
pub const UNKEYED: &[&str] = &[
    "api-key",
    "apikey",
    "cf-access-jwt-assertion",
    "client-cert",
    "client-cert-chain",
    "forwarded",
    "remote-user",
    "ssl-client-cert",
    "tailscale-user-login",
    "x-access-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-api-key",
    "x-auth-request-access-token",
    "x-auth-request-email",
    "x-auth-request-user",
    "x-auth-token",
    "x-authenticated-user",
    "x-client-cert",
    "x-envoy-original-path",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-preferred-username",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-user",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-goog-iap-jwt-assertion",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-remote-user",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-session-id",
    "x-session-token",
    "x-ssl-client-cert",
    "x-ssl-client-dn",
    "x-ssl-client-s-dn",
    "x-user-id",
];

/// Of these, those that are keyed unless the layer was told otherwise: nearly every proxy sends them, and there are few values.
const KEYED: [&str; 1] = ["x-forwarded-proto"];

type TagsOf = Arc<dyn Fn(&Parts, &mut dyn FnMut(&str)) + Send + Sync>;
type NamespaceOf = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;
type LifeOf = Arc<dyn Fn(&Parts) -> Option<Lifetime> + Send + Sync>;
type PathOf = Arc<dyn Fn(&Parts) -> String + Send + Sync>;

/// What a layer was told.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) name: Box<str>,
    pub(super) place: (&'static str, u32),
    pub(super) cache: Option<Cache>,
    pub(super) life: Lifetime,
    pub(super) life_of: Option<LifeOf>,
    pub(super) tags_of: Vec<TagsOf>,
    pub(super) namespace_of: Option<NamespaceOf>,
    pub(super) path_of: Option<PathOf>,
    pub(super) query: Option<Box<[Box<str>]>>,
    pub(super) key_headers: Vec<HeaderName>,
    pub(super) unkeyed: Vec<HeaderName>,
    pub(super) stale: Duration,
    pub(super) stale_if_error: Duration,
    pub(super) max_body: usize,
    pub(super) patience: Duration,
    pub(super) pass_for: Duration,
    pub(super) authorization: Credentials,
    pub(super) cookie: Credentials,
    pub(super) stores_set_cookie: bool,
    pub(super) hears_requests: bool,
    pub(super) says_status: bool,
    pub(super) lock: bool,
    pub(super) encrypt: bool,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer")
            .field("name", &self.name)
            .field("life", &self.life)
            .field("query", &self.query)
            .field("key_headers", &self.key_headers)
            .field("authorization", &self.authorization)
            .field("cookie", &self.cookie)
            .field("stores_set_cookie", &self.stores_set_cookie)
            .finish_non_exhaustive()
    }
}

impl Rules {
    pub(super) fn new(place: (&'static str, u32)) -> Self {
        let named = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
        let mut unkeyed = named(UNKEYED);
        unkeyed.retain(|name| !KEYED.contains(&name.as_str()));
        Self {
            name: "http".into(),
            place,
            cache: None,
            life: Lifetime::default(),
            life_of: None,
            tags_of: Vec::new(),
            namespace_of: None,
            path_of: None,
            query: None,
            key_headers: named(&KEYED),
            unkeyed,
            stale: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            max_body: 1024 * 1024,
            patience: Duration::from_millis(250),
            pass_for: Duration::from_secs(10),
            authorization: Credentials::Bypass,
            cookie: Credentials::Bypass,
            stores_set_cookie: false,
            hears_requests: true,
            says_status: true,
            lock: false,
            encrypt: false,
        }
    }

    /// The site of layers that are the same to the engine, at the place of the first that was mounted. Sites are for ever, so
    /// there is one for all of these; and whoever shares entries is counted as one.
    pub(super) fn site(&self) -> &'static Site {
        type Known = HashMap<(Box<str>, bool, bool), &'static Site>;
        static SITES: OnceLock<Mutex<Known>> = OnceLock::new();
        let identity = (self.name.clone(), self.lock, self.encrypt);
        SITES.get_or_init(Mutex::default).lock().entry(identity).or_insert_with(|| {
            let name: &'static str = Box::leak(self.name.clone());
            let key: &'static str = Box::leak(format!("http:{name}:<host>:<path>:<query>").into());
            let mut site = Site::read(name, "http", self.place.0, self.place.1).layer();
            // What tags its responses have is for closures and handlers to say.
            site = site.key(key).tags(&[UNKNOWN]).result_tags().ttl_dynamic();
            // How old a response may be served is its own affair; that some may is the function's.
            site = site.stale_ms(0).stale_if_error_ms(0);
            if self.lock {
                site = site.lock();
            }
            if self.encrypt {
                site = site.encrypt();
            }
            site.enter()
        })
    }

    /// A call in the cache and as the tenant of the running task.
    pub(super) fn call(&self, site: &'static Site) -> Call<'static> {
        match &self.cache {
            Some(cache) => Call::new(Ok(Held::Owned(Arc::clone(&cache.core))), site, context::tenant()),
            None => Call::current(site),
        }
    }
}
