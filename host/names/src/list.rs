//! Lists of the names of a tenant, page by page.
//!
//! A list is in the order of the bytes of the names, and a page goes on behind a name. So a name that is active from the
//! first page to the last is listed once, whatever is written meanwhile. A page reads a bounded number of rows, which have
//! to be read where many of them have ended, so it may have fewer registrations than it was asked for, or none, and still
//! say where the next one begins.

use crate::config::NamesConfig;
use crate::registration::Registration;

/// Sorts behind every name: no UTF-8 has this byte.
const END: u8 = 0xff;

/// Which names are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// The tenant that they belong to.
    pub tenant: String,
    /// How they begin; every name begins with the empty one.
    pub prefix: String,
    /// Who has them; none: whoever it is.
    pub owner: Option<String>,
    /// Behind which name the page begins; none: at the beginning.
    pub after: Option<String>,
    /// How many are listed at most, from 1 to [`NamesConfig::page_max`]; one beyond becomes the nearest.
    pub limit: usize,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Active registrations, in the order of the bytes of their names.
    pub registrations: Vec<Registration>,
    /// Behind which name the next page begins; none: this is the last one. The name need not have an active registration.
    pub next: Option<String>,
}

/// How much a page may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageLimits {
    pub(crate) registrations: usize,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// A page that is being filled.
#[derive(Debug)]
pub(crate) struct Filling {
    limits: PageLimits,
    page: Page,
    bytes: usize,
}

impl ListQuery {
    /// Returns the first name that may be listed, and the first behind it that may not.
    pub(crate) fn range(&self) -> (Vec<u8>, Vec<u8>) {
        let mut from = self.prefix.clone().into_bytes();
        if let Some(after) = &self.after {
            // The next one in the order of bytes.
            let next = [after.as_bytes(), &[0]].concat();
            from = from.max(next);
        }
        let mut to = self.prefix.clone().into_bytes();
        match to.last_mut() {
            // No byte of UTF-8 is the greatest one.
            Some(last) => *last += 1,
            None => to.push(END),
        }
        (from, to)
    }

    pub(crate) fn limits(&self, config: &NamesConfig) -> PageLimits {
        let registrations = self.limit.clamp(1, config.page_max);
        PageLimits {
            registrations,
            // One more, to see whether there are others.
            rows: config.page_rows_max.max(registrations + 1),
            bytes: config.page_bytes_max,
        }
    }
}

impl Filling {
    pub(crate) fn new(limits: PageLimits) -> Self {
        Self {
            limits,
            page: Page::default(),
            bytes: 0,
        }
    }

    /// Whether the page has no room for another registration.
    pub(crate) fn is_full(&self) -> bool {
        self.page.registrations.len() >= self.limits.registrations || self.is_too_long()
    }

    /// Whether its attributes are so long that nothing follows them.
    pub(crate) fn is_too_long(&self) -> bool {
        self.bytes > self.limits.bytes
    }

    /// Adds a registration whose attributes are so many bytes long as they are stored.
    pub(crate) fn push(&mut self, registration: Registration, attribute_bytes: usize) {
        self.bytes += attribute_bytes;
        self.page.registrations.push(registration);
    }

    /// Ends the page before a registration that it has no room for.
    pub(crate) fn full(mut self) -> Page {
        self.page.next = self.page.registrations.last().map(|last| last.name.clone());
        self.page
    }

    /// Ends the page where no more rows are read; `read_to`: there may be others behind this one.
    pub(crate) fn read(mut self, read_to: Option<String>) -> Page {
        self.page.next = read_to;
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_of_the_names_with_the_prefix_behind_the_one_that_was_last() {
        let check = |prefix: &str, after: Option<&str>, expect: [&[u8]; 2]| {
            let query = ListQuery {
                tenant: "t".to_owned(),
                prefix: prefix.to_owned(),
                owner: None,
                after: after.map(str::to_owned),
                limit: 1,
            };
            let (from, to) = query.range();
            assert_eq!([&from[..], &to[..]], expect);
        };
        check("", None, [b"", b"\xff"]);
        check("ab", None, [b"ab", b"ac"]);
        check("\u{10ffff}", None, [b"\xf4\x8f\xbf\xbf", b"\xf4\x8f\xbf\xc0"]);
        check("ab", Some("abc"), [b"abc\0", b"ac"]);
        // Names that no page of this list has ended with.
        check("ab", Some("a"), [b"ab", b"ac"]);
        check("ab", Some("b"), [b"b\0", b"ac"]);
    }
}
