//! [`Tenant`]: an explicit, checked value. Which tenant is current is not known here (see `context`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

/// Longest tenant name, in characters.
const MAX_LEN: usize = 64;

/// One of the parties that share a cache and must not see each other's entries.
///
/// Its name becomes a segment of every key (`svc:v1:tenant-org-123:user:42`), so it is 1 to 64 characters out of
/// `A-Z a-z 0-9 . _ -`; upper and lower case differ. Cheap to clone.
///
/// # Examples
///
/// ```
/// use cache_runtime::Tenant;
///
/// let tenant = Tenant::new("org-123")?;
/// assert_eq!(tenant.as_str(), "org-123");
/// assert!(Tenant::new("org:123").is_err());
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant called `id`.
    ///
    /// ```
    /// use cache_runtime::{ErrorKind, Tenant};
    ///
    /// let tenant = Tenant::new("org-123")?;
    /// assert_eq!(tenant, "org-123".parse()?);
    /// assert_eq!(Tenant::new("org:123").unwrap_err().kind(), ErrorKind::InvalidTenant);
    /// # Ok::<(), cache_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTenant`] if `id` is empty, longer than 64 characters, or has a character outside of
    /// `A-Z a-z 0-9 . _ -`. Nothing is replaced or cut: two tenants must never become one.
    pub fn new(id: impl AsRef<str>) -> Result<Self, Error> {
        let id = id.as_ref();
        let invalid = |what: String| Err(Error::new(ErrorKind::InvalidTenant, what));
        if id.is_empty() {
            return invalid("the tenant name is empty".into());
        }
        if let Some(c) = id.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            return invalid(format!(
                "a tenant name cannot contain {c:?}; use letters, digits, `.`, `_` and `-`, at most {MAX_LEN} of them"
            ));
        }
        if id.len() > MAX_LEN {
            return invalid(format!("the tenant name has {} characters; the limit is {MAX_LEN}", id.len()));
        }
        Ok(Self(id.into()))
    }

    /// The name, as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({:?})", &*self.0)
    }
}

impl AsRef<str> for Tenant {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self, Error> {
        Self::new(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_are_kept_as_they_are() {
        for id in ["a", "org-123", "Acme_Inc.v2", "--", &"x".repeat(64)] {
            let tenant = Tenant::new(id).expect(id);
            assert_eq!(tenant.as_str(), id);
            assert_eq!(tenant, id.parse().expect(id));
            assert_eq!(tenant.to_string(), id);
        }
        assert_ne!(Tenant::new("a").ok(), Tenant::new("A").ok());
    }

    #[test]
    fn names_that_could_leave_their_segment_are_refused_by_kind_and_character() {
        for (id, part) in [
            ("", "empty"),
            ("a:b", "':'"),
            ("a b", "' '"),
            ("a*", "'*'"),
            ("a%3A", "'%'"),
            ("a\n", "'\\n'"),
            ("\0", "'\\0'"),
            ("{a}", "'{'"),
            ("é", "'é'"),
            ("a\u{202E}", "'\\u{202e}'"),
            (&"x".repeat(65), "65 characters; the limit is 64"),
        ] {
            let error = Tenant::new(id).expect_err(id);
            assert_eq!(error.kind(), ErrorKind::InvalidTenant);
            assert!(error.to_string().contains(part), "{id:?}: {error}");
        }
    }
}
