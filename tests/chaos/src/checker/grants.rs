//! What must hold of grants: they exclude each other, and their fencing tokens grow.

use std::collections::BTreeMap;

use super::{Violation, violation};
use crate::fleet::LEASE;
use crate::history::{History, Section};

fn by_name<'a>(sections: impl Iterator<Item = &'a Section>) -> BTreeMap<&'a str, Vec<&'a Section>> {
    let mut by_name: BTreeMap<&str, Vec<&Section>> = BTreeMap::new();
    for section in sections {
        by_name.entry(&section.name).or_default().push(section);
    }
    by_name
}

/// Critical sections of a name do not overlap while both leases are trusted.
pub(super) fn check_overlap(sections: &[Section]) -> Vec<Violation> {
    let mut found = Vec::new();
    let lasting = sections.iter().filter(|section| section.end_us > section.begin_us);
    for mut sections in by_name(lasting).into_values() {
        sections.sort_by_key(|section| section.begin_us);
        for pair in sections.windows(2) {
            if pair[1].begin_us < pair[0].end_us {
                found.push(violation("section", format!("{:?} began in {:?}", pair[1], pair[0])));
            }
        }
    }
    found
}

/// Of two grants of a name, the later one has the greater token. Which is the later one is certain where it was asked
/// for after the other was held.
pub(super) fn check_order(sections: &[Section]) -> Vec<Violation> {
    let mut found = Vec::new();
    let asked = sections.iter().filter(|section| section.asked_us > 0);
    for mut sections in by_name(asked).into_values() {
        let mut held = sections.clone();
        held.sort_by_key(|section| section.begin_us);
        sections.sort_by_key(|section| section.asked_us);
        let mut held = held.into_iter().peekable();
        let mut greatest: Option<&Section> = None;
        for section in sections {
            while let Some(before) = held.next_if(|before| before.begin_us < section.asked_us) {
                if greatest.is_none_or(|greatest| greatest.fencing_token < before.fencing_token) {
                    greatest = Some(before);
                }
            }
            if let Some(greatest) = greatest.filter(|greatest| greatest.fencing_token >= section.fencing_token) {
                found.push(violation(
                    "grant",
                    format!("{section:?} was granted after {greatest:?}"),
                ));
            }
        }
    }
    found
}

/// Registrations that were written too late: sent after a newer lease was held, or run after the lease that they were
/// written under was over.
pub(super) fn check_late(history: &History, grain_ms: i64) -> Vec<Violation> {
    let by_name = by_name(history.sections.iter());
    let mut found = Vec::new();
    for version in &history.versions {
        let sections = by_name
            .get(version.name.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let token = |section: &Section| i64::try_from(section.fencing_token).unwrap_or(i64::MAX);
        let newer = sections.iter().find(|section| {
            token(section) > version.fencing_token && section.begin_us / 1000 + grain_ms < version.created_ms
        });
        // A lease that was renewed at the end of its section lasts for one more from there.
        let over_ms = |section: &&&Section| section.end_us / 1000 + lease_ms();
        let own = sections
            .iter()
            .filter(|section| token(section) == version.fencing_token);
        let over = own
            .max_by_key(|section| section.end_us)
            .filter(|section| over_ms(section) + grain_ms < version.written_ms);
        let late = newer.or(over);
        found.extend(late.map(|section| violation("late", format!("{version:?} was written after {section:?}"))));
    }
    found
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}
