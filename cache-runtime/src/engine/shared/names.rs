//! Physical names on a shared backend. Everything begins with the cache's prefix, so that one rule of an access list covers
//! it; what the cache makes for itself has a segment that begins with `%+`, which no key can have.
//!
//! | name | what |
//! |---|---|
//! | `svc:v1:user:42` | an entry |
//! | `svc:v1:%+side:{svc:v1:user:42}` | the envelope of an entry that is plain JSON |
//! | `svc:v1:%+lease:{svc:v1:user:42}` | who loads it; also the channel on which waiters are woken |
//! | `svc:v1:%+tag:org:7` | the cell of a tag; `%+ns:` of a namespace, `%+fn:` of a function |
//! | `svc:v1:%+all` | the cell of the whole cache; `%+tenant` of a tenant, `%+any` of any invalidation at all |
//! | `svc:v1:%+probe0` | nobody's: a hybrid cache tries on it whether it hears of changes; it lives for a millisecond |
//! | `svc:v1:tenant-org-123:..` | the same for a tenant |

use std::sync::Arc;

use crate::engine::name::Covers;
use crate::slot;
use crate::store::{EntryName, Name};
use crate::tenant::Tenant;

/// The names of the entry under a physical key.
pub(crate) fn entry(prefix: &[u8], physical: &[u8]) -> EntryName {
    let beside = |what: &[u8]| -> Name {
        let mut name = Vec::with_capacity(prefix.len() + what.len() + 2 * physical.len() + 4);
        write_beside(&mut name, prefix, what, physical);
        name.into()
    };
    EntryName { entry: Arc::from(physical), side: beside(SIDE), lease: beside(LEASE) }
}

/// Appends the name under which the envelope of the entry under a physical key is, where that is plain JSON.
pub(super) fn write_side(name: &mut Vec<u8>, prefix: &[u8], physical: &[u8]) {
    write_beside(name, prefix, SIDE, physical);
}

fn write_beside(name: &mut Vec<u8>, prefix: &[u8], what: &[u8], physical: &[u8]) {
    let tag = slot_tag(physical);
    name.extend_from_slice(prefix);
    name.extend_from_slice(what);
    name.push(b'{');
    name.extend_from_slice(tag.as_deref().unwrap_or(physical));
    name.push(b'}');
    if tag.is_some() {
        name.extend_from_slice(physical);
    }
}

/// What the names begin with on which it is tried whether changes are told.
pub(crate) fn probe(prefix: &[u8]) -> Name {
    [prefix, b"%+probe"].concat().into()
}

const SIDE: &[u8] = b"%+side:";
const LEASE: &[u8] = b"%+lease:";
const FUNCTION: &[u8] = b"%+fn:";

/// What has to stand in braces for a name to be in the slot of `physical`, where that is not `physical` itself.
///
/// Values of keys have no braces; a template's own text may have.
fn slot_tag(physical: &[u8]) -> Option<Vec<u8>> {
    if !physical.contains(&b'}') {
        return None;
    }
    let tag = slot::tag(physical);
    if tag.len() < physical.len() {
        return Some(tag.to_vec());
    }
    // The whole name is hashed, and cannot stand in braces: another text of the same slot can.
    let wanted = slot::of(physical);
    (0_u32..).map(|n| n.to_string().into_bytes()).find(|text| slot::of(text) == wanted)
}

/// The name of a cell.
pub(crate) fn cell(prefix: &[u8], covers: Covers, tenant: Option<&Tenant>, text: &[u8]) -> Name {
    let mut name = Vec::with_capacity(prefix.len() + text.len() + 88);
    write_cell(&mut name, prefix, covers, tenant, text);
    name.into()
}

/// Appends the name of a cell.
pub(super) fn write_cell(name: &mut Vec<u8>, prefix: &[u8], covers: Covers, tenant: Option<&Tenant>, text: &[u8]) {
    let word: &[u8] = match covers {
        Covers::All => b"%+all",
        Covers::Any => b"%+any",
        Covers::Tenant => b"%+tenant",
        Covers::Function => FUNCTION,
        Covers::Namespace => b"%+ns:",
        Covers::Tag => b"%+tag:",
    };
    name.extend_from_slice(prefix);
    if let Some(tenant) = tenant {
        name.extend_from_slice(b"tenant-");
        name.extend_from_slice(tenant.as_str().as_bytes());
        name.push(b':');
    }
    name.extend_from_slice(word);
    name.extend_from_slice(text);
}

/// What a name that a scan found is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About<'n> {
    /// The entry of this physical key.
    Entry(&'n [u8]),
    /// The lease or the side of the entry of this physical key.
    Beside(&'n [u8]),
    /// Something else.
    Other,
}

/// What a name is about.
pub(crate) fn about<'n>(prefix: &[u8], name: &'n [u8]) -> About<'n> {
    let Some(rest) = name.strip_prefix(prefix) else { return About::Other };
    if let Some(braced) = rest.strip_prefix(LEASE).or_else(|| rest.strip_prefix(SIDE)) {
        let Some(inner) = braced.strip_prefix(b"{") else { return About::Other };
        if inner.starts_with(prefix) && inner.ends_with(b"}") && !inner[..inner.len() - 1].contains(&b'}') {
            return About::Beside(&inner[..inner.len() - 1]);
        }
        // `{tag}physical`
        return match inner.iter().position(|byte| *byte == b'}') {
            Some(close) => About::Beside(&inner[close + 1..]),
            None => About::Other,
        };
    }
    let logical =
        rest.strip_prefix(b"tenant-").and_then(|rest| rest.splitn(2, |byte| *byte == b':').nth(1)).unwrap_or(rest);
    if logical.starts_with(b"%+") { About::Other } else { About::Entry(name) }
}

/// A glob for everything under `prefix` whose name contains `part`.
pub(crate) fn glob(prefix: &[u8], part: &[u8]) -> Vec<u8> {
    let mut glob = Vec::with_capacity(prefix.len() + part.len() + 8);
    for byte in prefix {
        push_literal(&mut glob, *byte);
    }
    glob.push(b'*');
    if !part.is_empty() {
        for byte in part {
            push_literal(&mut glob, *byte);
        }
        glob.push(b'*');
    }
    glob
}

fn push_literal(glob: &mut Vec<u8>, byte: u8) {
    if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
        glob.push(b'\\');
    }
    glob.push(byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_an_entry_are_in_one_slot_and_lead_back_to_it() {
        for key in ["user:42", "a{b}c", "a{b", "a}b", "a{}b", "}{", "{}", "{x}{y}", "a:{", "tenant-x:user:1"] {
            let physical = format!("svc:v1:{key}");
            let names = entry(b"svc:v1:", physical.as_bytes());
            for beside in [&names.side, &names.lease] {
                assert_eq!(slot::of(beside), slot::of(physical.as_bytes()), "{key}");
                assert_eq!(about(b"svc:v1:", beside), About::Beside(physical.as_bytes()), "{key}");
            }
            assert_eq!(about(b"svc:v1:", &names.entry), About::Entry(physical.as_bytes()), "{key}");
        }
    }

    #[test]
    fn cells_are_no_entries() {
        let tenant = Tenant::new("x").unwrap();
        for covers in [Covers::All, Covers::Any, Covers::Tenant, Covers::Function, Covers::Namespace, Covers::Tag] {
            for tenant in [None, Some(&tenant)] {
                assert_eq!(about(b"svc:v1:", &cell(b"svc:v1:", covers, tenant, b"t")), About::Other);
            }
        }
        assert_eq!(about(b"svc:v1:", b"other:v1:user:1"), About::Other);
    }

    #[test]
    fn a_glob_takes_its_parts_as_they_are() {
        assert_eq!(glob(b"s*c:v1:", b"us?r"), b"s\\*c:v1:*us\\?r*");
    }
}
