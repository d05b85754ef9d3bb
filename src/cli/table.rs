//! Tables: aligned, no wider than the terminal, nothing lost where nobody limits the width.
//!
//! In: columns and rows of cells. Out: lines. Guaranteed: widths are those that a terminal shows; what does not fit is
//! shortened with `…`, first in the columns that may shrink; no line ends in a space. Must not: sort: the caller knows what
//! is worst.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::style;
use crate::report::text::Role;

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    title: &'static str,
    wide: bool,
    right: bool,
    shrinks: bool,
}

/// A column that keeps its width.
pub fn column(title: &'static str) -> Column {
    Column {
        title,
        wide: false,
        right: false,
        shrinks: false,
    }
}

impl Column {
    /// Only with `-o wide`.
    #[must_use]
    pub fn wide(mut self) -> Self {
        self.wide = true;
        self
    }

    /// Numbers stand right.
    #[must_use]
    pub fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// May be shortened.
    #[must_use]
    pub fn shrinks(mut self) -> Self {
        self.shrinks = true;
        self
    }
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    role: Role,
}

/// A cell in a role.
pub fn cell(role: Role, text: impl Into<String>) -> Cell {
    let text: String = text.into();
    Cell {
        text: text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
        role,
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        cell(Role::Plain, text)
    }
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

const GAP: usize = 2;
/// No column is shortened below this.
const LEAST: usize = 8;

impl Table {
    /// An empty table.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = cells.into_iter().collect();
        row.resize_with(self.columns.len(), || Cell::from(""));
        self.rows.push(row);
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The first cell of each row.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows
            .iter()
            .filter_map(|row| row.first())
            .map(|cell| cell.text.as_str())
    }

    /// The lines, with the titles first.
    pub fn render(&self, wide: bool, width: Option<usize>, color: bool) -> String {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|at| wide || !self.columns[*at].wide)
            .collect();
        let widths = self.widths(&shown, width);
        let mut text = String::new();
        let titles = self
            .columns
            .iter()
            .map(|column| cell(Role::Dim, column.title))
            .collect::<Vec<_>>();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            let mut pending = 0;
            for (at, room) in shown.iter().zip(&widths) {
                let cell = &row[*at];
                let fitted = fit(&cell.text, *room);
                let empty = room - fitted.width();
                let right = self.columns[*at].right;
                // Spaces are held back until something follows, so no line ends in one.
                if !fitted.is_empty() {
                    line.push_str(&" ".repeat(pending + if right { empty } else { 0 }));
                    line.push_str(&style::word(cell.role, &fitted, color));
                    pending = GAP + if right { 0 } else { empty };
                } else {
                    pending += GAP + room;
                }
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn widths(&self, shown: &[usize], limit: Option<usize>) -> Vec<usize> {
        let natural = |at: &usize| {
            let cells = self.rows.iter().map(|row| row[*at].text.width());
            cells.max().unwrap_or(0).max(self.columns[*at].title.width())
        };
        let mut widths: Vec<usize> = shown.iter().map(natural).collect();
        let Some(limit) = limit else { return widths };
        let gaps = GAP * shown.len().saturating_sub(1);
        // First those that may shrink, then, on a very narrow terminal, any.
        for any in [false, true] {
            while widths.iter().sum::<usize>() + gaps > limit {
                let candidates = shown
                    .iter()
                    .enumerate()
                    .filter(|(_, at)| any || self.columns[**at].shrinks);
                let widest = candidates
                    .map(|(place, _)| place)
                    .filter(|place| widths[*place] > LEAST)
                    .max_by_key(|place| widths[*place]);
                match widest {
                    Some(place) => widths[place] -= 1,
                    None => break,
                }
            }
        }
        widths
    }
}

/// `text` in at most `room` columns.
pub fn fit(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut used = 1;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width > room {
            break;
        }
        used += width;
        fitted.push(c);
    }
    let mut fitted = fitted.trim_end().to_owned();
    fitted.push('…');
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            column("APP"),
            column("STATE"),
            column("CALLS").right(),
            column("SUBJECT").shrinks(),
            column("ID").wide(),
        ]);
        table.row([
            Cell::from("web"),
            cell(Role::Good, "healthy"),
            "12".into(),
            "api 1.9.0 with a long subject".into(),
            "x".into(),
        ]);
        table.row([Cell::from("bücher"), "held".into(), "3".into(), "".into()]);
        table.row([Cell::from("日本"), "ok".into(), "".into(), "short".into()]);
        table
    }

    #[test]
    fn columns_line_up_by_what_a_terminal_shows() {
        insta::assert_snapshot!(table().render(false, None, false), @r"
        APP     STATE    CALLS  SUBJECT
        web     healthy     12  api 1.9.0 with a long subject
        bücher  held         3
        日本    ok              short
        ");
    }

    #[test]
    fn a_narrow_terminal_shortens_what_may_be_shortened() {
        let text = table().render(false, Some(40), false);
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
        assert!(
            text.contains("healthy") && text.contains("api 1.9.0 with…"),
            "{text}"
        );
    }

    #[test]
    fn no_line_ends_in_a_space_and_wide_shows_more() {
        let text = table().render(true, None, false);
        assert!(text.lines().all(|line| line.trim_end() == line), "{text:?}");
        assert!(text.contains("ID"));
    }

    #[test]
    fn colour_changes_no_width() {
        let colored = table().render(false, Some(44), true);
        assert_eq!(
            anstream::adapter::strip_str(&colored).to_string(),
            table().render(false, Some(44), false)
        );
    }
}
