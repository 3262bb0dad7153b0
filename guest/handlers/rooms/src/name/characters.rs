//! What the rules make of every character, written down for the other languages.

use std::{env, fmt::Write as _, fs};

use sha2::{Digest, Sha256};

use super::RoomName;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/characters.txt");

const HEADER: &str = "\
# What the names of rooms are made of: may a character be the first one, follow a letter, follow a separator? Asked with
# the names Xa, aXa and a-Xa, for every character X that Unicode 14 has; + is yes. The digest is that of what becomes of
# these names, in this order, each followed by a line feed: the canonical form, or the text of the refusal. The rules in
# Rust write it; the tests in Rust, Python and JavaScript compare themselves with it.
# `UPDATE_CHARACTERS=1 cargo test -p rooms` writes it anew, for the same characters.
";

/// Returns the characters that the file has, from its lines `first..last verdicts`.
fn characters(file: &str) -> impl Iterator<Item = char> {
    let runs = file.lines().filter_map(|line| line.split_once(' ')?.0.split_once(".."));
    let number = |text| u32::from_str_radix(text, 16).expect("the number of a character");
    runs.flat_map(move |(first, last)| number(first)..=number(last))
        .map(|number| char::from_u32(number).expect("a character"))
}

/// Returns what the file must be for these characters, which are in order.
fn table(characters: impl Iterator<Item = char>) -> String {
    let mut runs: Vec<(u32, u32, String)> = Vec::new();
    let mut digest = Sha256::new();
    for char in characters {
        let mut verdicts = String::new();
        for text in [format!("{char}a"), format!("a{char}a"), format!("a-{char}a")] {
            let name = RoomName::parse(&text);
            verdicts.push(if name.is_ok() { '+' } else { '-' });
            let outcome = name.map_or_else(|error| error.to_string(), |RoomName(name)| name);
            digest.update(outcome + "\n");
        }
        let number = u32::from(char);
        match runs.last_mut() {
            Some((_, last, same)) if *last + 1 == number && *same == verdicts => *last = number,
            _ => runs.push((number, number, verdicts)),
        }
    }
    let mut table = HEADER.to_owned();
    let _ = writeln!(table, "sha256 {:x}", digest.finalize());
    for (first, last, verdicts) in runs {
        let _ = writeln!(table, "{first:04x}..{last:04x} {verdicts}");
    }
    table
}

#[test]
fn every_character_stands_where_the_file_says() {
    let file = fs::read_to_string(FILE).expect("guest/handlers/rooms/characters.txt");
    let table = table(characters(&file));
    if env::var_os("UPDATE_CHARACTERS").is_some() {
        fs::write(FILE, &table).expect("guest/handlers/rooms/characters.txt");
        return;
    }
    let differences = table.lines().filter(|line| !file.lines().any(|other| other == *line));
    let differences: Vec<_> = differences.take(20).collect();
    assert!(
        file == table,
        "the rules now say, and the file does not:\n{}",
        differences.join("\n")
    );
}
