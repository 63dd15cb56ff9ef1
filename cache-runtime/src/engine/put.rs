//! Storing a value that was not loaded: a companion's `put`. It is what the caller says, so it replaces what is there and
//! closes the key's flight. A write-through goes the other way; see `claim`.

use std::sync::Arc;

use super::call::Call;
use super::load::{Fill, early_cells, lifetime, record};
use super::sink::{Early, EarlyTags, Tags};
use crate::error::{Error, ErrorKind};
use crate::key::KeyWriter;
use crate::policy::{IntoTtl, Lifetime};
use crate::record::Stored;
use crate::shape::{Cached, Handling};

/// Takes what depends on the value; boxed, since it outlives the expansion that made it.
type OnValue<V> = Box<dyn FnOnce(&V, &mut Fill<'_>) + Send + Sync>;

/// An entry that a value is to become: key, tags, ttl. Made by a companion's hidden `__put`.
pub struct PutTarget<V> {
    pub(super) call: Call<'static>,
    pub(super) key: KeyWriter,
    pub(super) handling: Handling<V>,
    /// What does not depend on the value.
    pub(super) early: Early,
    pub(super) life: Option<Lifetime>,
    pub(super) on_value: Option<OnValue<V>>,
}

impl<V> std::fmt::Debug for PutTarget<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutTarget").field("site", &self.call.site).finish_non_exhaustive()
    }
}

impl<V> PutTarget<V> {
    pub(crate) fn call(&self) -> &Call<'static> {
        &self.call
    }

    pub(crate) fn key(&self) -> &KeyWriter {
        &self.key
    }

    pub(crate) fn handling(&self) -> &Handling<V> {
        &self.handling
    }
}

impl<V: Send + Sync + 'static> PutTarget<V> {
    /// The entry under `key`.
    pub fn new<S: Cached<Value = V> + 'static>(call: &Call<'_>, key: &KeyWriter, shape: S) -> Self {
        Self {
            call: call.to_owned_call(),
            key: key.clone(),
            handling: *shape.handling(),
            early: Early::new(true),
            life: None,
            on_value: None,
        }
    }

    /// The entry under a logical key, with the default ttl and the key as its only tag.
    pub fn of_key<S: Cached<Value = V> + 'static>(call: &Call<'_>, key: impl Into<crate::key::Key>, shape: S) -> Self {
        let writer = call.key_from(key);
        Self::new(call, &writer, shape)
    }

    /// Takes the tags that do not depend on the value.
    pub fn tags(&mut self, say: impl FnOnce(&mut EarlyTags<'_>)) {
        self.early.tags(say);
    }

    /// Takes the namespace by template.
    pub fn namespace(&mut self, write: impl FnOnce(&mut KeyWriter)) {
        self.early.namespace(write);
    }

    /// Takes the namespace by expression.
    pub fn namespace_expr(&mut self, namespace: impl AsRef<str>) {
        self.early.namespace_expr(namespace);
    }

    /// Takes a ttl that is known at run time only.
    pub fn ttl(&mut self, ttl: impl IntoTtl) {
        self.life = Some(lifetime(&self.call, ttl));
    }

    /// Says what depends on the value.
    pub fn on_value(&mut self, say: impl FnOnce(&V, &mut Fill<'_>) + Send + Sync + 'static) {
        self.on_value = Some(Box::new(say));
    }

    /// Stores what the caller claims, over whatever is there.
    ///
    /// # Errors
    ///
    /// The cache cannot be used, or the value is heavier than the store.
    pub async fn store(self, value: impl Put<V>) -> Result<(), Error> {
        self.call.required()?;
        let Some(shared) = self.call.shared().cloned() else { return self.store_now(value) };
        let value = value.into_shared();
        self.store_shared(&shared, &value).await
    }

    /// [`store`](Self::store) for synchronous functions.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    pub fn store_now(self, value: impl Put<V>) -> Result<(), Error> {
        let value = value.into_shared();
        let core = Arc::clone(self.call.required()?);
        let mut cells = early_cells(&core, &self.call, &self.early);
        let mut life = self.life;
        let mut wanted = true;
        if let Some(say) = self.on_value {
            let tags = Tags::new(&core, self.call.tenant(), &mut cells, None);
            say(&value, &mut Fill::new(&self.call, tags, &mut life, &mut wanted));
        }
        let bytes = || (self.handling.bytes)(&value);
        let stored = Stored::Some(Arc::clone(&value) as _);
        let record = if wanted {
            record(&core, &self.call, self.key.as_bytes(), stored, life, self.key.template(), 0, cells, bytes)
        } else {
            None
        };
        let store = core.store_of(core.function(self.call.site));
        let stored = record.is_some();
        let _removed = core.change_key(self.key.as_bytes(), || match record {
            Some(record) => store.map().insert(self.key.as_bytes().into(), Arc::new(record)),
            None => core.remove_everywhere(self.key.as_bytes()),
        });
        if !stored && wanted && core.settings.bounds.max_bytes.is_some() {
            return Err(too_large());
        }
        Ok(())
    }
}

pub(crate) fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "the value is heavier than the whole store (`max_bytes`), or its ttl is zero")
}

/// What can be stored as a `V`: a reference to one that can be cloned, one itself, or a shared one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use cache_runtime::{Cache, cache_read};
///
/// #[cache_read(key = "name:<id>")]
/// async fn name(id: u64) -> String {
///     id.to_string()
/// }
///
/// Cache::memory().scope(async {
///     let ada = "Ada".to_owned();
///     name::put(&ada, 1).await?;
///     name::put(ada, 2).await?;
///     name::put(Arc::new("Grace".to_owned()), 3).await?;
///     assert_eq!((name(1).await, name(3).await), ("Ada".to_owned(), "Grace".to_owned()));
///     Ok::<_, cache_runtime::Error>(())
/// }).await?;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored as `{V}`",
    note = "give `&{V}`, `{V}` or `Arc<{V}>`"
)]
pub trait Put<V> {
    /// The value, shared.
    fn into_shared(self) -> Arc<V>;
}

impl<V> Put<V> for V {
    fn into_shared(self) -> Arc<V> {
        Arc::new(self)
    }
}
impl<V: Clone> Put<V> for &V {
    fn into_shared(self) -> Arc<V> {
        Arc::new(self.clone())
    }
}
impl<V> Put<V> for Arc<V> {
    fn into_shared(self) -> Self {
        self
    }
}
impl<V> Put<V> for &Arc<V> {
    fn into_shared(self) -> Arc<V> {
        Arc::clone(self)
    }
}
