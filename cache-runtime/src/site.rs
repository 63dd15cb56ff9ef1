//! The static that describes one annotated function: where it is, its templates and its options. Written by expansions
//! through a const builder, read by the engine and the catalogue. Data only.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::codec::Codec;
use crate::key::{mix, template_seed, template_seed_auto, template_seed_resource};
use crate::policy::{Ages, EarlyRefresh, Jitter, Lifetime, Ttl};

/// Stands in a list of templates for an expression whose tags are known only at run time.
pub const UNKNOWN: &str = "*";

/// What an attribute makes of a function.
///
/// ```standalone_crate
/// use cache_runtime::{SiteKind, catalogue, memoize};
///
/// #[memoize]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// assert_eq!(catalogue().functions()[0].kind(), SiteKind::Memoize);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SiteKind {
    /// `#[cache_read]`
    Read,
    /// `#[cache_write]`
    Write,
    /// `#[memoize]`
    Memoize,
}

/// How a function's key is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyText {
    /// There is none (writes).
    None,
    /// A template.
    Template(&'static str),
    /// A resource's template with a suffix after its first segment.
    Resource(&'static str, &'static str),
    /// Module, function and these parameters.
    Auto(&'static [&'static str]),
    /// A function of the parameters.
    Computed,
}

/// One annotated function.
pub struct Site {
    pub(crate) kind: SiteKind,
    pub(crate) name: &'static str,
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) key: KeyText,
    seed: u64,
    pub(crate) tags: &'static [&'static str],
    pub(crate) keys: &'static [&'static str],
    pub(crate) patterns: &'static [&'static str],
    pub(crate) namespaces: &'static [&'static str],
    pub(crate) put: Option<&'static str>,
    pub(crate) recaches: &'static [&'static str],
    pub(crate) namespace: Option<&'static str>,
    pub(crate) options: Options,
    /// Whether it stands for a layer of an HTTP service, and no function.
    pub(crate) is_layer: bool,
    /// Index of this function's counters in every cache, given at first use.
    index: OnceLock<usize>,
    /// The stored type, learnt at first use.
    pub(crate) value: OnceLock<&'static str>,
    /// The stored type, where the expansion could name it.
    declared: Option<fn() -> &'static str>,
    /// The path of an item inside of the function.
    here: Option<fn() -> &'static str>,
    /// Where the function is, for people and for generated keys; and its identity.
    place: OnceLock<Placed>,
    /// Calls that found no cache at all.
    pub(crate) past: AtomicU64,
}

/// Where a function is, in all the ways that are asked for.
#[derive(Debug)]
struct Placed {
    text: String,
    identity: u64,
    cell: String,
}

/// What an attribute's options say, where they are constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) life: Lifetime,
    pub(crate) dynamic_life: bool,
    pub(crate) jitter: Jitter,
    pub(crate) ttl_none: Option<Duration>,
    pub(crate) ttl_err: Option<Duration>,
    pub(crate) sliding: bool,
    pub(crate) ages: Ages,
    pub(crate) soft_timeout: Option<Duration>,
    /// How many of a million answered calls are checked against the source.
    pub(crate) monitor_ppm: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) lock: bool,
    pub(crate) lock_ttl: Duration,
    pub(crate) wait: Duration,
    pub(crate) version: u32,
    pub(crate) global_tenant: bool,
    pub(crate) on_error_fail: bool,
    pub(crate) local: bool,
    pub(crate) local_cap: Option<Duration>,
    pub(crate) codec: Option<Codec>,
    pub(crate) compress_above: Option<u64>,
    pub(crate) encrypt: bool,
    pub(crate) result_tags: bool,
    pub(crate) capacity: Option<u64>,
    pub(crate) fence: Option<Duration>,
    pub(crate) before: bool,
    pub(crate) recache_concurrency: u32,
    pub(crate) recache_background: bool,
}

const DEFAULTS: Options = Options {
    life: Lifetime::Bucket(Ttl::Default),
    dynamic_life: false,
    jitter: Jitter::None,
    ttl_none: None,
    ttl_err: None,
    sliding: false,
    ages: Ages::NONE,
    soft_timeout: None,
    monitor_ppm: 0,
    timeout: None,
    lock: false,
    lock_ttl: Duration::from_secs(30),
    wait: Duration::from_secs(10),
    version: 1,
    global_tenant: false,
    on_error_fail: false,
    local: true,
    local_cap: None,
    codec: None,
    compress_above: None,
    encrypt: false,
    result_tags: false,
    capacity: None,
    fence: None,
    before: false,
    recache_concurrency: 5,
    recache_background: false,
};

/// A builder step that sets one field.
macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $this:ident => $body:block)*) => {
        $($(#[$doc])*
        #[must_use]
        pub const fn $name(self, $($arg: $ty),*) -> Self {
            #[allow(unused_mut)]
            let mut $this = self;
            $body
            $this
        })*
    };
}

impl Site {
    const fn new(kind: SiteKind, name: &'static str, module: &'static str, file: &'static str, line: u32) -> Self {
        Self {
            kind,
            name,
            module,
            file,
            line,
            key: KeyText::None,
            seed: 0,
            tags: &[],
            keys: &[],
            patterns: &[],
            namespaces: &[],
            put: None,
            recaches: &[],
            namespace: None,
            options: DEFAULTS,
            is_layer: false,
            index: OnceLock::new(),
            value: OnceLock::new(),
            declared: None,
            here: None,
            place: OnceLock::new(),
            past: AtomicU64::new(0),
        }
    }

    /// A `#[cache_read]` function.
    #[must_use]
    pub const fn read(name: &'static str, module: &'static str, file: &'static str, line: u32) -> Self {
        Self::new(SiteKind::Read, name, module, file, line)
    }

    /// A `#[cache_write]` function.
    #[must_use]
    pub const fn write(name: &'static str, module: &'static str, file: &'static str, line: u32) -> Self {
        Self::new(SiteKind::Write, name, module, file, line)
    }

    /// A `#[memoize]` function.
    #[must_use]
    pub const fn memoize(name: &'static str, module: &'static str, file: &'static str, line: u32) -> Self {
        Self::new(SiteKind::Memoize, name, module, file, line)
    }

    steps! {
        /// Key template.
        key(text: &'static str) this => { this.key = KeyText::Template(text); this.seed = template_seed(text); }
        /// Key of module, function and parameters.
        key_auto(parts: &'static [&'static str]) this => {
            this.key = KeyText::Auto(parts);
            this.seed = template_seed_auto(this.module, this.name, parts.len());
        }
        /// Key of a resource.
        key_resource(template: &'static str, suffix: &'static str) this => {
            this.key = KeyText::Resource(template, suffix);
            this.seed = template_seed_resource(template, suffix);
        }
        /// Key by a function.
        key_computed() this => { this.key = KeyText::Computed; }
        /// Tag templates.
        tags(texts: &'static [&'static str]) this => { this.tags = texts; }
        /// Keys that a write drops.
        keys(texts: &'static [&'static str]) this => { this.keys = texts; }
        /// Patterns that a write drops.
        patterns(texts: &'static [&'static str]) this => { this.patterns = texts; }
        /// Namespaces that a write drops.
        namespaces(texts: &'static [&'static str]) this => { this.namespaces = texts; }
        /// The entry that a write's result becomes.
        put(text: &'static str) this => { this.put = Some(text); }
        /// Functions that a write recaches.
        recaches(names: &'static [&'static str]) this => { this.recaches = names; }
        /// The namespace of a read.
        namespace_text(text: &'static str) this => { this.namespace = Some(text); }
        /// The path of an item inside of the function.
        here(path: fn() -> &'static str) this => { this.here = Some(path); }
        /// The stored type's name.
        value(name: fn() -> &'static str) this => { this.declared = Some(name); }
        /// `ttl` in milliseconds.
        ttl_ms(ms: u64) this => { this.options.life = Lifetime::For(Duration::from_millis(ms)); }
        /// `ttl` by bucket.
        ttl_bucket(bucket: Ttl) this => { this.options.life = Lifetime::Bucket(bucket); }
        /// `ttl = "forever"`.
        ttl_forever() this => { this.options.life = Lifetime::Forever; }
        /// `ttl` by an expression.
        ttl_dynamic() this => { this.options.dynamic_life = true; }
        /// `lock = true`.
        lock() this => { this.options.lock = true; }
        /// `lock_ttl`.
        lock_ttl_ms(ms: u64) this => { this.options.lock_ttl = Duration::from_millis(ms); }
        /// `wait`.
        wait_ms(ms: u64) this => { this.options.wait = Duration::from_millis(ms); }
        /// `refresh = true`.
        sliding() this => { this.options.sliding = true; }
        /// `jitter` as a share of the ttl.
        jitter_percent(percent: u8) this => { this.options.jitter = Jitter::Percent(percent); }
        /// `jitter` as a duration.
        jitter_ms(ms: u64) this => { this.options.jitter = Jitter::Span(Duration::from_millis(ms)); }
        /// `ttl_none`.
        ttl_none_ms(ms: u64) this => { this.options.ttl_none = Some(Duration::from_millis(ms)); }
        /// `ttl_err`.
        ttl_err_ms(ms: u64) this => { this.options.ttl_err = Some(Duration::from_millis(ms)); }
        /// `early_ttl`.
        early_ttl_ms(ms: u64) this => { this.options.ages.early = EarlyRefresh::Age(Duration::from_millis(ms)); }
        /// `early_ttl = auto`.
        early_ttl_auto() this => { this.options.ages.early = EarlyRefresh::Adaptive; }
        /// `stale`.
        stale_ms(ms: u64) this => { this.options.ages.stale = Some(Duration::from_millis(ms)); }
        /// `stale_if_error`.
        stale_if_error_ms(ms: u64) this => { this.options.ages.stale_if_error = Some(Duration::from_millis(ms)); }
        /// `soft_timeout`.
        soft_timeout_ms(ms: u64) this => { this.options.soft_timeout = Some(Duration::from_millis(ms)); }
        /// `timeout`.
        timeout_ms(ms: u64) this => { this.options.timeout = Some(Duration::from_millis(ms)); }
        /// `monitor`, in millionths of the calls.
        monitor_ppm(ppm: u32) this => { this.options.monitor_ppm = ppm; }
        /// `version`.
        version(version: u32) this => { this.options.version = version; }
        /// `tenant = global`.
        global_tenant() this => { this.options.global_tenant = true; }
        /// `on_error = fail`.
        on_error_fail() this => { this.options.on_error_fail = true; }
        /// `local = true | false`.
        local(local: bool) this => { this.options.local = local; }
        /// `local` as a cap.
        local_ms(ms: u64) this => { this.options.local_cap = Some(Duration::from_millis(ms)); }
        /// `codec`.
        codec(codec: Codec) this => { this.options.codec = Some(codec); }
        /// `compress_above` in bytes.
        compress_above(bytes: u64) this => { this.options.compress_above = Some(bytes); }
        /// `encrypt = true`.
        encrypt() this => { this.options.encrypt = true; }
        /// It stands for a layer of an HTTP service.
        layer() this => { this.is_layer = true; }
        /// Some tag mentions `result`.
        result_tags() this => { this.options.result_tags = true; }
        /// `capacity` of a memoized function, in entries.
        capacity(entries: u64) this => { this.options.capacity = Some(entries); }
        /// `fence`.
        fence_ms(ms: u64) this => { this.options.fence = Some(Duration::from_millis(ms)); }
        /// `before = true`.
        before() this => { this.options.before = true; }
        /// `recache_concurrency`.
        recache_concurrency(limit: u32) this => { this.options.recache_concurrency = limit; }
        /// `recache_mode = background`.
        recache_background() this => { this.options.recache_background = true; }
    }

    /// Enters a site that is made while the program runs into the catalogue. It is there for ever.
    #[cfg(feature = "tower")]
    pub(crate) fn enter(self) -> &'static Self {
        let site: &'static Self = Box::leak(Box::new(self));
        MADE.lock().push(site);
        site
    }

    /// All sites that the linker collected, and those that were made since.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        let made = MADE.lock().clone();
        inventory::iter::<Registered>().map(|registered| registered.0).chain(made)
    }

    /// What makes it one: an attribute, as a rule.
    pub(crate) fn made_by(&self) -> &'static str {
        match self.kind {
            SiteKind::Read if self.is_layer => "CacheLayer",
            SiteKind::Read => "cache_read",
            SiteKind::Write => "cache_write",
            SiteKind::Memoize => "memoize",
        }
    }

    /// Module and function, with the type of a method and the function around an inner one: `shop.users:Repo.find`. No two
    /// functions of a program have the same, so it begins generated keys.
    #[inline]
    pub fn place(&self) -> &str {
        &self.placed().text
    }

    /// [`place`](Self::place) as a path: `shop::users::Repo.find`.
    pub(crate) fn path(&self) -> String {
        let inner = self.place().split_once(':').map_or(self.name, |(_, inner)| inner);
        format!("{}::{inner}", self.module)
    }

    /// What metrics and spans call what it caches: the resource, else the function, with the type of a method.
    pub(crate) fn resource(&self) -> &str {
        match self.key {
            KeyText::Resource(template, _) => template.split(':').next().unwrap_or(template),
            _ => labelled(self.place()),
        }
    }

    /// The function's name for its cell on a shared backend. Lines move between versions of a program that share one, so the
    /// template tells apart what one place cannot: functions of a macro, for one.
    pub(crate) fn cell_text(&self) -> &str {
        &self.placed().cell
    }

    fn placed(&self) -> &Placed {
        self.place.get_or_init(|| {
            let text = place(self.module, self.name, self.here.map(|here| here()));
            let identity = template_seed(&text);
            let cell = format!("{text}#{:016x}", self.seed());
            Placed { text, identity, cell }
        })
    }

    /// The stored type's name, where it is known.
    pub(crate) fn value_name(&self) -> Option<&'static str> {
        self.value.get().copied().or_else(|| self.declared.map(|name| name()))
    }

    /// Identity of the key's template and of the schema version. Version 1 is the template's own, so that `key!` fits it.
    #[inline]
    pub(crate) const fn seed(&self) -> u64 {
        self.versioned(self.seed)
    }

    #[inline]
    const fn versioned(&self, template: u64) -> u64 {
        if self.options.version == 1 { template } else { mix(template, self.options.version as u64) }
    }

    /// Identity of a key that this function computed. One that is mere text belongs to this function alone: that another
    /// function computes the same text is an accident, and `key!` says where it is not.
    pub(crate) fn computed(&self, template: u64) -> u64 {
        match (template, self.key) {
            (0, KeyText::Computed) => self.versioned(self.placed().identity),
            (0, _) => 0,
            (template, _) => self.versioned(template),
        }
    }

    /// A small number of its own for each function that was used.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        *self.index.get_or_init(|| NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The key template as people read it.
    pub(crate) fn key_text(&self) -> Option<String> {
        match self.key {
            KeyText::None => None,
            KeyText::Template(text) => Some(text.to_owned()),
            KeyText::Resource(template, "") => Some(template.to_owned()),
            KeyText::Resource(template, suffix) => Some(match template.split_once(':') {
                Some((name, rest)) => format!("{name}:{suffix}:{rest}"),
                None => format!("{template}:{suffix}"),
            }),
            KeyText::Auto(parts) => {
                let mut text = self.place().to_owned();
                for part in parts {
                    text.push_str(":<");
                    text.push_str(part);
                    text.push('>');
                }
                Some(text)
            }
            KeyText::Computed => Some(UNKNOWN.to_owned()),
        }
    }
}

/// `module:path` of a function, from the path of an item inside of it: what is between the module and the item, without
/// the names that expansions add.
fn place(module: &str, name: &str, here: Option<&str>) -> String {
    let mut place = module.replace("::", ".");
    place.push(':');
    let inner = here.and_then(|here| here.strip_prefix(module)).and_then(|here| here.strip_prefix("::"));
    let mut path: Vec<&str> = split_path(inner.unwrap_or_default());
    path.retain(|segment| *segment != "{{closure}}");
    // The item itself, and hidden functions around it.
    while path.last().is_some_and(|segment| segment.starts_with("__")) {
        path.pop();
    }
    if path.last() != Some(&name) {
        path.push(name);
    }
    let mut escaped = crate::key::KeyWriter::new(0);
    escaped.display(&path.join("."));
    place.push_str(&String::from_utf8_lossy(escaped.as_bytes()));
    place
}

/// The function of a place, with the type of a method: what is around an inner function is nobody's concern.
fn labelled(place: &str) -> &str {
    let inner = place.split_once(':').map_or(place, |(_, inner)| inner);
    let Some((before, function)) = inner.rsplit_once('.') else { return inner };
    let owner = before.rsplit_once('.').map_or(before, |(_, owner)| owner);
    let is_type = owner.starts_with(|first: char| first.is_uppercase() || first == '<');
    if is_type { &inner[inner.len() - owner.len() - 1 - function.len()..] } else { function }
}

/// Splits at `::` outside of angle brackets: `<Circle as shop::Shape>::area` has two segments.
fn split_path(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if at > 0 && bytes[at - 1] != b'-' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && at >= start && bytes.get(at + 1) == Some(&b':') => {
                segments.push(&path[start..at]);
                start = at + 2;
            }
            _ => {}
        }
    }
    if start < path.len() {
        segments.push(&path[start..]);
    }
    segments
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("name", &self.name)
            .field("module", &self.module)
            .field("file", &self.file)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// A site that the linker collected for the catalogue.
#[derive(Debug)]
pub struct Registered(pub &'static Site);

inventory::collect!(Registered);

/// Sites that were made while the program ran.
static MADE: parking_lot::Mutex<Vec<&'static Site>> = parking_lot::Mutex::new(Vec::new());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_functions_with_the_type_of_a_method() {
        let table = [
            ("shop.users:report", "report"),
            ("shop.users:Circle.area", "Circle.area"),
            ("shop.users:outer.inner", "inner"),
            ("shop.users:outer.Repo.find", "Repo.find"),
            ("shop.users:<impl shop%3A%3AShape for Circle>.area", "<impl shop%3A%3AShape for Circle>.area"),
            ("http:products", "products"),
        ];
        for (place, label) in table {
            assert_eq!(labelled(place), label);
        }
    }

    #[test]
    fn places_tell_functions_apart() {
        let table = [
            ("report", None, "shop.users:report"),
            ("report", Some("shop::users::report::__site::__here"), "shop.users:report"),
            ("area", Some("shop::users::Circle::__area_site::__here"), "shop.users:Circle.area"),
            (
                "area",
                Some("shop::users::<impl shop::Shape for Circle>::area::__here"),
                "shop.users:<impl shop%3A%3AShape for Circle>.area",
            ),
            ("inner", Some("shop::users::outer::{{closure}}::inner::__site::__here"), "shop.users:outer.inner"),
        ];
        for (name, here, expected) in table {
            assert_eq!(place("shop::users", name, here), expected, "{here:?}");
        }
    }
}
