//! A frame: the tables, as much of each as there is room for, and the line of what keys do.
//!
//! Where there is little room the table that keys move in has all of it.

use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::grid::{Grid, HEAD, Look, Tone, put};
use super::model::{Mode, Model, Pane};
use super::panes::grid;

/// With less than a row for each table only one of them is shown.
const ALL_FROM: u16 = Pane::ALL.len() as u16 * (HEAD + 1);

/// What keys do, where nothing else is to be said.
const KEYS: &str = "q quit  Tab pane  s sort  / filter  e end lease  p pause  ? help";

const HELP: [&str; 14] = [
    "q, Esc, Ctrl-C    quit",
    "Tab, right, left  go to another table",
    "j k, up, down     go to another row; PgUp, PgDn, g, G",
    "s                 sort tenants, or locks, by something else",
    "/                 show the tenants whose ids begin so",
    "e                 end the lease of the selected lock",
    "r                 ask now",
    "p                 pause, and go on",
    "",
    "errors: faults in the last minute. p50, p99: of the last",
    "minute. Of several hosts the rates, errors, calls and locks",
    "of a tenant are added up; times and limits are those of the",
    "worst host. lasts: how long the lease is valid still.",
    "Any key closes this.",
];

/// The width of a frame that is printed.
const PRINTED_WIDTH: u16 = 120;

/// The most lines of a table that are printed.
const PRINTED_LINES: u16 = 2_000;

/// Draws what is known into this area.
pub(super) fn frame(model: &Model, now: Instant, look: Look, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let (said, tone) = said(model);
    let said = wrapped(&said, area.width);
    // Which keys there are need not be read to its end; a question does.
    let most = if tone == Tone::Faint {
        1
    } else {
        area.height.div_ceil(2)
    };
    let said = &said[..said.len().min(usize::from(most))];
    let below = u16::try_from(said.len()).unwrap_or(u16::MAX);
    for (text, line) in said.iter().zip(
        Rect {
            y: area.bottom() - below,
            height: below,
            ..area
        }
        .rows(),
    ) {
        put(buffer, line, text, look.style(tone));
    }
    let mut room = Rect {
        height: area.height - below,
        ..area
    };
    if room.height > HEAD + 1 {
        let line = Rect { height: 1, ..room };
        put(buffer, line, &title(model), look.style(Tone::Title));
        room = Rect {
            y: room.y + 1,
            height: room.height - 1,
            ..room
        };
    }
    if let Mode::Help = model.mode {
        for (text, line) in HELP.iter().zip(room.rows()) {
            put(buffer, line, text, look.style(Tone::Plain));
        }
        return;
    }
    let grids = Pane::ALL.map(|pane| (pane, grid(pane, model, now)));
    let heights = heights(room.height, model.pane, &grids);
    for ((pane, grid), height) in grids.iter().zip(heights) {
        let place = Rect { height, ..room };
        let selected = model.selected(*pane, grid.keys());
        grid.draw(look, Some(*pane == model.pane), selected, place, buffer);
        room = Rect {
            y: room.y + height,
            height: room.height - height,
            ..room
        };
    }
}

/// Everything that is known, as text.
pub(super) fn printed(model: &Model, now: Instant) -> String {
    let mut text = String::new();
    for pane in Pane::ALL {
        let grid = grid(pane, model, now);
        let area = Rect::new(0, 0, PRINTED_WIDTH, grid.height().min(PRINTED_LINES));
        let mut buffer = Buffer::empty(area);
        grid.draw(Look { colour: false }, None, None, area, &mut buffer);
        if !text.is_empty() {
            text.push('\n');
        }
        for line in lines(&buffer) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// The lines of a buffer without their styles.
pub(super) fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area().width.max(1));
    let line = |cells: &[ratatui::buffer::Cell]| {
        let mut line = String::new();
        let mut at = 0;
        while let Some(cell) = cells.get(at) {
            line.push_str(cell.symbol());
            // What is wide covers the cells behind it.
            at += Span::raw(cell.symbol()).width().max(1);
        }
        line.trim_end().to_owned()
    };
    buffer.content().chunks(width).map(line).collect()
}

/// How high each table is.
fn heights(room: u16, focus: Pane, grids: &[(Pane, Grid); 4]) -> [u16; 4] {
    let mut heights = [0; 4];
    if room < ALL_FROM {
        heights[focus.index()] = room;
        return heights;
    }
    heights = [HEAD + 1; 4];
    let mut left = room - ALL_FROM;
    // One line after the other, so that a long table takes what a short one does not need; that with the keys twice as fast.
    let order = [focus, Pane::Tenants, Pane::Locks, Pane::Hosts, Pane::Faults];
    let mut grew = true;
    while left > 0 && grew {
        grew = false;
        for pane in order {
            let at = pane.index();
            if left > 0 && heights[at] < grids[at].1.height() {
                heights[at] += 1;
                left -= 1;
                grew = true;
            }
        }
    }
    heights[Pane::Tenants.index()] += left;
    heights
}

fn title(model: &Model) -> String {
    let hosts = match model.hosts.as_slice() {
        [one] => one.address.to_string(),
        several => format!("{} hosts", several.len()),
    };
    let paused = if model.paused.is_some() { "  PAUSED" } else { "" };
    format!("namelock top  {hosts}  every {:?}{paused}", model.every)
}

/// What is said below the tables.
fn said(model: &Model) -> (String, Tone) {
    match (&model.mode, &model.message) {
        (Mode::Confirming(lock), _) => {
            let host = model.hosts.get(lock.host).map(|host| host.address.to_string());
            let text = format!(
                "y/n? End the lease {} of {} at {} (name {})? Its call hears lease_lost and writes nothing more.",
                lock.id,
                lock.tenant,
                host.unwrap_or_default(),
                lock.name.as_ref().unwrap_or(&lock.digest),
            );
            (text, Tone::Warn)
        }
        (Mode::Filtering, _) => (
            format!(
                "tenants that begin with: {}_  (Enter keeps it, Esc shows all)",
                model.filter
            ),
            Tone::Title,
        ),
        (_, Some(message)) => (message.to_string(), Tone::Title),
        (Mode::Watching | Mode::Help, None) => (KEYS.to_owned(), Tone::Faint),
    }
}

/// Lines of at most so many characters, broken between words where that is possible.
fn wrapped(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut lines = Vec::new();
    let mut line: Vec<char> = Vec::new();
    for c in text.chars() {
        if line.len() == width {
            let space = line.iter().rposition(|c| *c == ' ').filter(|_| c != ' ');
            let rest = space.map_or_else(Vec::new, |at| line.split_off(at + 1));
            lines.push(line.iter().collect::<String>());
            line = rest;
            if line.is_empty() && c == ' ' {
                continue;
            }
        }
        line.push(c);
    }
    lines.push(line.iter().collect());
    lines
}
