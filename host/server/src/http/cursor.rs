//! Where the next page of a list begins, as callers carry it: the last name, and a digest that binds it to its list.
//!
//! Nothing in it is secret, and nobody gains anything by making one up. The digest is there so that a cursor that was cut,
//! changed or taken from another list is refused, and not answered with a page that silently leaves names out.

use sha2::{Digest, Sha256};

use super::address::ListOf;
use crate::error::{ErrorKind, Problem};
use crate::hex::{from_hex, hex};

/// Bytes of the digest.
const DIGEST_BYTES: usize = 8;

/// Writes the cursor behind this name.
pub(super) fn write(tenant: &str, list: &ListOf, name: &str) -> String {
    hex(&[digest(tenant, list, name).as_slice(), name.as_bytes()].concat())
}

/// Reads the name behind which a page begins.
pub(super) fn read(tenant: &str, list: &ListOf, cursor: &str) -> Result<String, Problem> {
    let invalid = || {
        let detail = "after= is not `next` of a page of this very list; begin without it";
        Problem::new(ErrorKind::InvalidRequest, detail)
    };
    let is_written_so = |cursor: &&str| !cursor.bytes().any(|byte| byte.is_ascii_uppercase());
    let bytes = Some(cursor)
        .filter(is_written_so)
        .and_then(from_hex)
        .ok_or_else(invalid)?;
    let (digest_of_it, name) = bytes.split_at_checked(DIGEST_BYTES).ok_or_else(invalid)?;
    let name = std::str::from_utf8(name).map_err(|_| invalid())?;
    if digest(tenant, list, name) != digest_of_it {
        return Err(invalid());
    }
    Ok(name.to_owned())
}

fn digest(tenant: &str, list: &ListOf, name: &str) -> [u8; DIGEST_BYTES] {
    let mut digest = Sha256::new();
    for part in [tenant, &list.prefix, list.owner.as_deref().unwrap_or_default(), name] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use super::super::address::list_of;
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_name_in_its_list_alone() {
        let list = |query: &str| list_of(Some(query)).unwrap();
        let (all, some) = (list("limit=5"), list("prefix=b&owner=ann"));
        let cursor = write("acme", &some, "blue é");
        assert_eq!(read("acme", &some, &cursor).as_deref(), Ok("blue é"));
        assert_eq!(
            read("acme", &list("owner=ann&limit=9&prefix=b"), &cursor).as_deref(),
            Ok("blue é")
        );
        for (tenant, list) in [("acme", &all), ("other", &some)] {
            assert_eq!(
                read(tenant, list, &cursor).unwrap_err().kind(),
                ErrorKind::InvalidRequest
            );
        }
        let changed = cursor.replace("20", "21");
        for wrong in [
            "",
            "zz",
            "00",
            &cursor[..cursor.len() - 2],
            &cursor[2..],
            &changed,
            &cursor.to_uppercase(),
            "é",
            &"ff".repeat(20),
        ] {
            assert!(read("acme", &some, wrong).is_err(), "{wrong}");
        }
    }
}
