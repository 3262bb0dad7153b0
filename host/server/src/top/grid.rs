//! A table: columns that fit the width there is, and the row that is selected.
//!
//! A column of figures is shown whole or not at all: a part of a number is another number.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

/// What a text says, beyond its words. No state is told by a tone alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Faint,
    Title,
    /// The title of the table that keys move in.
    Focus,
}

/// How tones look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) colour: bool,
}

impl Look {
    pub(super) fn style(self, tone: Tone) -> Style {
        let (modifier, colour) = match tone {
            Tone::Plain => (Modifier::empty(), None),
            Tone::Good => (Modifier::empty(), Some(Color::Green)),
            Tone::Warn => (Modifier::BOLD, Some(Color::Yellow)),
            Tone::Bad => (Modifier::BOLD, Some(Color::Red)),
            Tone::Faint => (Modifier::DIM, None),
            Tone::Title => (Modifier::BOLD, None),
            Tone::Focus => (Modifier::BOLD.union(Modifier::REVERSED), None),
        };
        let style = Style::new().add_modifier(modifier);
        match colour.filter(|_| self.colour) {
            Some(colour) => style.fg(colour),
            None => style,
        }
    }
}

/// How wide a column is, in cells of the terminal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Width {
    /// A figure, at the right.
    Figure(u16),
    Text(u16),
    /// A text that has as many parts of what the others leave.
    Share(u16),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) width: Width,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl ToString, tone: Tone) -> Self {
        Self {
            text: text.to_string(),
            tone,
        }
    }

    pub(super) fn plain(text: impl ToString) -> Self {
        Self::new(text, Tone::Plain)
    }
}

#[derive(Debug)]
pub(super) enum Content {
    Cells(Vec<Cell>),
    /// A text over all columns.
    Line(Cell),
}

#[derive(Debug)]
pub(super) struct Row {
    /// What it is about, while it moves.
    pub(super) key: String,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) struct Grid {
    pub(super) title: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// What is said where there is no row.
    pub(super) nothing: &'static str,
}

/// Before each row: whether it is selected.
const MARK: u16 = 2;

/// The narrowest that a shared column becomes.
const SHARE_MIN: u16 = 8;

/// Lines above the rows: the title and the heads of the columns.
pub(super) const HEAD: u16 = 2;

impl Grid {
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rows.iter().map(|row| row.key.as_str())
    }

    /// How many lines it takes to show all of it.
    pub(super) fn height(&self) -> u16 {
        u16::try_from(self.rows.len().max(1))
            .unwrap_or(u16::MAX)
            .saturating_add(HEAD)
    }

    /// Draws as much of it as there is room for, the selected row among it. `focus` says whether keys move in it; none: there are no keys.
    pub(super) fn draw(
        &self,
        look: Look,
        focus: Option<bool>,
        selected: Option<usize>,
        area: Rect,
        buffer: &mut Buffer,
    ) {
        let mut lines = area.rows();
        let Some(line) = lines.next() else {
            return;
        };
        let (tone, mark) = match focus {
            Some(true) => (Tone::Focus, "> "),
            Some(false) => (Tone::Title, "  "),
            None => (Tone::Title, ""),
        };
        put(buffer, line, &format!("{mark}{}", self.title), look.style(tone));
        let columns = self.places(area.width);
        if let Some(line) = lines.next() {
            for (column, place) in self.columns.iter().zip(&columns) {
                cell(
                    buffer,
                    line,
                    *place,
                    column.width,
                    column.title,
                    look.style(Tone::Faint),
                );
            }
        }
        let room = usize::from(area.height.saturating_sub(HEAD));
        if self.rows.is_empty()
            && let Some(line) = lines.next()
        {
            put(buffer, inner(line), self.nothing, look.style(Tone::Faint));
            return;
        }
        let first = selected.map_or(0, |at| at.saturating_sub(room.saturating_sub(1)));
        for ((at, row), line) in self.rows.iter().enumerate().skip(first).zip(lines) {
            match &row.content {
                Content::Cells(cells) => {
                    for ((text, column), place) in cells.iter().zip(&self.columns).zip(&columns) {
                        cell(buffer, line, *place, column.width, &text.text, look.style(text.tone));
                    }
                }
                Content::Line(text) => put(buffer, inner(line), &text.text, look.style(text.tone)),
            }
            if focus == Some(true) && selected == Some(at) {
                buffer.set_stringn(line.x, line.y, ">", usize::from(line.width), Style::new());
                buffer.set_style(line, Style::new().add_modifier(Modifier::REVERSED));
            }
        }
    }

    /// Where each column begins, and how wide it is; none: there is no room for it.
    fn places(&self, width: u16) -> Vec<Option<(u16, u16)>> {
        let gaps = u16::try_from(self.columns.len()).unwrap_or(u16::MAX).saturating_sub(1);
        let (mut fixed, mut shares) = (MARK.saturating_add(gaps), 0_u16);
        for column in &self.columns {
            match column.width {
                Width::Figure(cells) | Width::Text(cells) => fixed = fixed.saturating_add(cells),
                Width::Share(parts) => shares = shares.saturating_add(parts),
            }
        }
        let rest = width.saturating_sub(fixed);
        let mut at = MARK;
        let place = |column: &Column| {
            let cells = match column.width {
                Width::Figure(cells) | Width::Text(cells) => cells,
                Width::Share(parts) => {
                    let share = u32::from(rest) * u32::from(parts) / u32::from(shares.max(1));
                    u16::try_from(share).unwrap_or(u16::MAX).max(SHARE_MIN)
                }
            };
            let left = width.saturating_sub(at);
            let is_whole = cells <= left;
            let place = match column.width {
                Width::Figure(_) if !is_whole => None,
                _ => (left > 0).then_some((at, cells.min(left))),
            };
            at = at.saturating_add(cells).saturating_add(1);
            place
        };
        self.columns.iter().map(place).collect()
    }
}

fn inner(line: Rect) -> Rect {
    let mark = MARK.min(line.width);
    Rect::new(line.x + mark, line.y, line.width - mark, line.height)
}

/// Writes a text into a line, as far as it fits.
pub(super) fn put(buffer: &mut Buffer, line: Rect, text: &str, style: Style) {
    buffer.set_stringn(line.x, line.y, text, usize::from(line.width), style);
}

fn cell(buffer: &mut Buffer, line: Rect, place: Option<(u16, u16)>, width: Width, text: &str, style: Style) {
    let Some((at, cells)) = place else {
        return;
    };
    let room = usize::from(cells);
    let x = line.x.saturating_add(at);
    if let Width::Figure(_) = width {
        buffer.set_stringn(x, line.y, format!("{text:>room$}"), room, style);
    } else {
        buffer.set_stringn(x, line.y, text, room, style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let cells = |name: &str, number: &str| Content::Cells(vec![Cell::plain(name), Cell::plain(number)]);
        let row = |name: &str, number: &str| Row {
            key: name.to_owned(),
            content: cells(name, number),
        };
        Grid {
            title: "Things".to_owned(),
            columns: vec![
                Column {
                    title: "name",
                    width: Width::Share(1),
                },
                Column {
                    title: "number",
                    width: Width::Figure(6),
                },
            ],
            rows: vec![row("one", "1"), row("two of them", "22222"), row("three", "3")],
            nothing: "nothing",
        }
    }

    fn drawn(grid: &Grid, selected: Option<usize>, width: u16, height: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        grid.draw(Look { colour: false }, Some(true), selected, area, &mut buffer);
        let cells = buffer.content().chunks(usize::from(width.max(1)));
        let text = |line: &[ratatui::buffer::Cell]| line.iter().map(|cell| cell.symbol()).collect::<String>();
        cells.map(|line| text(line).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_table_shows_its_selected_row_and_no_part_of_a_number() {
        let lines = [
            "> Things",
            "  name       number",
            "  two of the  22222",
            "> three           3",
        ];
        assert_eq!(drawn(&grid(), Some(2), 19, 4), lines);
        assert_eq!(drawn(&grid(), Some(0), 12, 3), ["> Things", "  name", "> one"]);
    }

    #[test]
    fn a_table_of_any_size_is_drawn() {
        let empty = Grid {
            rows: Vec::new(),
            ..grid()
        };
        assert_eq!(drawn(&empty, None, 20, 3)[2], "  nothing");
        for (width, height) in (0..14).flat_map(|width| (0..6).map(move |height| (width, height))) {
            drawn(&grid(), Some(1), width, height);
            drawn(&empty, None, width, height);
        }
    }
}
