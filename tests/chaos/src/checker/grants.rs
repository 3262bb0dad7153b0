//! What must hold of grants: they exclude each other, and their fencing tokens grow.

use std::collections::BTreeMap;

use super::{Violation, violation};
use crate::history::{History, Section, Version};

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

/// Registrations that began after a newer lease was held, in spite of the older token that they were written with.
pub(super) fn check_late(history: &History, grain_ms: i64) -> Vec<Violation> {
    let by_name = by_name(history.sections.iter());
    let newer = |version: &Version| {
        let sections = by_name
            .get(version.name.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        sections.iter().find(|section| {
            let is_newer = i64::try_from(section.fencing_token).is_ok_and(|token| token > version.fencing_token);
            is_newer && section.begin_us / 1000 + grain_ms < version.created_ms
        })
    };
    let late = history
        .versions
        .iter()
        .filter_map(|version| Some((version, newer(version)?)));
    late.map(|(version, section)| violation("late", format!("{version:?} was written after {section:?}")))
        .collect()
}
