//! Names: physical keys of entries and names of cells. The tenant is in both, so that nothing crosses.

use crate::key::KeyWriter;
use crate::tenant::Tenant;

/// What a cell stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Covers {
    /// Everything in the cache, tenants included.
    All,
    /// Nothing: it is replaced by every invalidation. Only on shared backends.
    Any,
    /// Everything of one tenant.
    Tenant,
    /// All entries of one function.
    Function,
    /// All entries of one namespace.
    Namespace,
    /// All entries with one tag.
    Tag,
}

/// The name of a cell.
pub(crate) type CellName = smallvec::SmallVec<[u8; 96]>;

/// A cell's name: what it covers, for whom, and its text. A tenant's name has no NUL, so no text can leave its part.
pub(crate) fn cell(covers: Covers, tenant: Option<&Tenant>, text: &[u8]) -> CellName {
    let mut name = smallvec::SmallVec::new();
    name.push(match covers {
        Covers::All => b'*',
        Covers::Any => b'+',
        Covers::Tenant => b'o',
        Covers::Function => b'f',
        Covers::Namespace => b'n',
        Covers::Tag => b't',
    });
    if let Some(tenant) = tenant {
        name.extend_from_slice(tenant.as_str().as_bytes());
    }
    name.push(0);
    name.extend_from_slice(text);
    name
}

/// Adds the tenant's segment to a writer of physical keys.
#[inline]
pub(crate) fn tenant_prefix(writer: &mut KeyWriter, tenant: &Tenant) {
    writer.prefix(b"tenant-");
    writer.prefix(tenant.as_str().as_bytes());
    writer.prefix(b":");
}

/// The logical part of a physical key of this tenant, or of none: a caller without a tenant does not reach into one.
pub(crate) fn logical_of<'k>(prefix: &[u8], tenant: Option<&Tenant>, physical: &'k [u8]) -> Option<&'k [u8]> {
    let rest = physical.strip_prefix(prefix)?;
    match tenant {
        None => (!rest.starts_with(b"tenant-")).then_some(rest),
        Some(tenant) => rest.strip_prefix(b"tenant-")?.strip_prefix(tenant.as_str().as_bytes())?.strip_prefix(b":"),
    }
}

/// What watches are told when a pattern drops keys that nobody can list. No cell has such a name.
pub(crate) const ANY_PATTERN: &[u8] = b"\0pattern";
