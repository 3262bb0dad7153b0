//! What keys do.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::answer::Plain;
use super::model::{Mode, Model, Pane};
use super::panes::{grid, key_of};
use super::rows::Lock;

/// Longest filter, in bytes; ids of tenants are shorter.
const FILTER_MAX: usize = 64;

/// How many rows a page is.
const PAGE: isize = 10;

/// What a key asks for beyond what changes in the model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    /// Ask the hosts now.
    Refresh,
    /// End this lease.
    End {
        host: usize,
        id: u64,
    },
}

/// Takes up a key.
pub(super) fn press(model: &mut Model, key: KeyEvent, now: Instant) -> Action {
    if key.kind == KeyEventKind::Release {
        return Action::Nothing;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        return Action::Quit;
    }
    if control || key.modifiers.contains(KeyModifiers::ALT) {
        return Action::Nothing;
    }
    match std::mem::take(&mut model.mode) {
        Mode::Watching => {
            model.message = None;
            watching(model, key.code, now)
        }
        Mode::Filtering => {
            filtering(model, key.code);
            Action::Nothing
        }
        Mode::Confirming(lock) => confirming(model, key.code, &lock, now),
        Mode::Help => Action::Nothing,
    }
}

fn watching(model: &mut Model, key: KeyCode, now: Instant) -> Action {
    match key {
        KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
        KeyCode::Tab | KeyCode::Right => model.pane = model.pane.next(),
        KeyCode::BackTab | KeyCode::Left => model.pane = model.pane.previous(),
        KeyCode::Down | KeyCode::Char('j') => step(model, 1, now),
        KeyCode::Up | KeyCode::Char('k') => step(model, -1, now),
        KeyCode::PageDown => step(model, PAGE, now),
        KeyCode::PageUp => step(model, -PAGE, now),
        KeyCode::Home | KeyCode::Char('g') => step(model, isize::MIN, now),
        KeyCode::End | KeyCode::Char('G') => step(model, isize::MAX, now),
        KeyCode::Char('s') if model.pane == Pane::Locks => model.lock_sort = model.lock_sort.next(),
        KeyCode::Char('s') => model.tenant_sort = model.tenant_sort.next(),
        KeyCode::Char('/') => model.mode = Mode::Filtering,
        KeyCode::Char('e') => ask_to_end(model, now),
        KeyCode::Char('p') => model.pause(now),
        KeyCode::Char('r') => return Action::Refresh,
        KeyCode::Char('?') => model.mode = Mode::Help,
        _ => {}
    }
    Action::Nothing
}

/// Selects another row of the table that keys move in.
fn step(model: &mut Model, by: isize, now: Instant) {
    let grid = grid(model.pane, model, now);
    let Some(at) = model.selected(model.pane, grid.keys()) else {
        return;
    };
    let at = at.saturating_add_signed(by).min(grid.rows.len() - 1);
    model.select(model.pane, at, &grid.rows[at].key);
}

fn filtering(model: &mut Model, key: KeyCode) {
    match key {
        KeyCode::Enter => return,
        KeyCode::Esc => {
            model.filter.clear();
            return;
        }
        KeyCode::Backspace => {
            model.filter.pop();
        }
        KeyCode::Char(c) if !c.is_control() && model.filter.len() + c.len_utf8() <= FILTER_MAX => model.filter.push(c),
        _ => {}
    }
    model.mode = Mode::Filtering;
}

fn ask_to_end(model: &mut Model, now: Instant) {
    if model.is_ending {
        model.message = Some(Plain::new("a lease is being ended; wait for the answer of its host"));
        return;
    }
    let selected = model.selected(Pane::Locks, grid(Pane::Locks, model, now).keys());
    let locks = model.locks(now);
    match selected.and_then(|at| locks.get(at)) {
        Some(lock) if model.pane == Pane::Locks => {
            model.select(Pane::Locks, selected.unwrap_or_default(), &key_of(lock));
            model.mode = Mode::Confirming(lock.clone());
        }
        _ => model.message = Some(Plain::new("select a lock first: Tab goes to them")),
    }
}

fn confirming(model: &mut Model, key: KeyCode, lock: &Lock, now: Instant) -> Action {
    if !matches!(key, KeyCode::Char('y' | 'Y')) {
        model.message = Some(Plain::new("the lease was kept"));
        return Action::Nothing;
    }
    // A host that was started anew counts its leases from the first again.
    let is_same = |other: &Lock| (other.host, other.id, &other.digest) == (lock.host, lock.id, &lock.digest);
    if !model.locks(now).iter().any(is_same) {
        model.message = Some(Plain::new("that lease has ended already"));
        return Action::Nothing;
    }
    model.is_ending = true;
    model.message = Some(Plain::new(&format!("the lease {} is being ended", lock.id)));
    Action::End {
        host: lock.host,
        id: lock.id,
    }
}
