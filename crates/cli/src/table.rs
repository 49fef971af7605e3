//! Text in columns.

use crate::terminal::Paint;

/// Between two columns.
const GAP: &str = "  ";

/// What a column is cut to at least, in characters.
const SHORTEST: usize = 8;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// On a terminal that is too narrow, the column with the highest rank goes first. Those with rank 0 stay.
    pub(crate) rank: u8,
}

/// What stands in a column of one row.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) paint: Paint,
}

impl Cell {
    /// Text, or a dash for none.
    pub(crate) fn new(text: impl Into<String>, paint: Paint) -> Self {
        let text = text.into();
        if text.is_empty() { Self { text: "-".to_owned(), paint: Paint::Dim } } else { Self { text, paint } }
    }
}

/// The lines of a table: the titles and each row, in at most `width` columns, if that is given.
pub(crate) fn table(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>, colours: bool) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|column| column.title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    if let Some(width) = width {
        let needed = |shown: &[usize], widths: &[usize]| {
            shown.iter().map(|at| widths[*at] + GAP.len()).sum::<usize>().saturating_sub(GAP.len())
        };
        while needed(&shown, &widths) > width {
            let least = shown.iter().copied().max_by_key(|at| columns[*at].rank);
            match least {
                Some(least) if columns[least].rank > 0 => shown.retain(|at| *at != least),
                _ => break,
            }
        }
        // The columns that stay are cut, the widest one first.
        while needed(&shown, &widths) > width
            && let Some(widest) = shown.iter().copied().max_by_key(|at| widths[*at])
            && widths[widest] > SHORTEST
        {
            widths[widest] -= 1;
        }
    }
    let titles =
        columns.iter().map(|column| Cell { text: column.title.to_owned(), paint: Paint::Dim }).collect();
    let mut text = String::new();
    for row in [&titles].into_iter().chain(rows) {
        line(&mut text, row, &shown, &widths, colours);
    }
    text
}

fn line(text: &mut String, row: &[Cell], shown: &[usize], widths: &[usize], colours: bool) {
    for (number, at) in shown.iter().enumerate() {
        let Some(cell) = row.get(*at) else { continue };
        let length = cell.text.chars().count();
        let content = if length > widths[*at] { cut(&cell.text, widths[*at]) } else { cell.text.clone() };
        text.push_str(&cell.paint.on(&content, colours));
        // No blanks at the end of a line.
        if number + 1 < shown.len() {
            text.extend(std::iter::repeat_n(' ', widths[*at].saturating_sub(length) + GAP.len()));
        }
    }
    text.push('\n');
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width.saturating_sub(1)).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { title: "HOST", rank: 0 },
        Column { title: "STATE", rank: 1 },
        Column { title: "GATEWAY", rank: 2 },
    ];

    fn rows(rows: &[[&str; 3]]) -> Vec<Vec<Cell>> {
        rows.iter().map(|row| row.iter().map(|text| Cell::new(*text, Paint::Green)).collect()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = rows(&[["web-1", "online", "gw1"], ["a-long-name", "", "gw2"]]);
        let wanted = "HOST         STATE   GATEWAY\nweb-1        online  gw1\na-long-name  -       gw2\n";
        assert_eq!(table(&COLUMNS, &rows, None, false), wanted);
        assert_eq!(table(&COLUMNS, &rows, Some(28), false), wanted);
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters() {
        let rows = rows(&[["a-long-name", "online", "gw1"]]);
        assert_eq!(table(&COLUMNS, &rows, Some(27), false), "HOST         STATE\na-long-name  online\n");
        assert_eq!(table(&COLUMNS, &rows, Some(18), false), "HOST\na-long-name\n");
        assert_eq!(table(&COLUMNS, &rows, Some(9), false), "HOST\na-long-n\u{2026}\n");
    }

    #[test]
    fn colours_take_no_room() {
        let rows = rows(&[["a", "b", "c"]]);
        let text = table(&COLUMNS, &rows, None, true);
        assert!(text.contains("\x1b[32ma\x1b[0m     \x1b[32mb\x1b[0m      \x1b[32mc\x1b[0m\n"), "{text:?}");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(width in 8..60usize, names in proptest::collection::vec("[a-z\u{e4}]{0,30}", 3)) {
            let rows = rows(&[[&names[0], &names[1], &names[2]]]);
            for line in table(&COLUMNS, &rows, Some(width), false).lines() {
                prop_assert!(line.chars().count() <= width, "{line}");
            }
        }
    }
}
