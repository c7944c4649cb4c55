//! Tables with borders (`reference/calicoctl.md` sections 2.5, 6.1 and 8.5).

use std::fmt;

/// Where a text stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// At the left.
    Left,
    /// At the right.
    Right,
    /// In the middle; a spare blank goes to the right.
    Centre,
}

/// A table with borders. Every cell has a blank on each side; several lines in a cell are printed
/// below one another.
#[derive(Debug, Clone)]
pub struct Bordered {
    headings: Vec<String>,
    heading_align: Align,
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Bordered {
    /// A table with these headings at the left, and cells at the left.
    pub fn new<const N: usize>(headings: [&str; N]) -> Bordered {
        Bordered {
            headings: headings.map(str::to_owned).to_vec(),
            heading_align: Align::Left,
            columns: vec![Align::Left; N],
            rows: Vec::new(),
        }
    }

    /// Puts the headings there.
    pub fn headings(self, align: Align) -> Bordered {
        Bordered { heading_align: align, ..self }
    }

    /// Puts the cells of these columns, counted from 0, there.
    pub fn column(mut self, columns: impl IntoIterator<Item = usize>, align: Align) -> Bordered {
        for column in columns {
            if let Some(slot) = self.columns.get_mut(column) {
                *slot = align;
            }
        }
        self
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|text| width(text)).collect();
        for row in &self.rows {
            for (slot, cell) in widths.iter_mut().zip(row) {
                *slot = cell.lines().map(width).max().unwrap_or(0).max(*slot);
            }
        }
        widths
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn pad(text: &str, to: usize, align: Align) -> String {
    let spare = to.saturating_sub(width(text));
    let left = match align {
        Align::Left => 0,
        Align::Right => spare,
        Align::Centre => spare / 2,
    };
    format!("{}{text}{}", " ".repeat(left), " ".repeat(spare - left))
}

impl fmt::Display for Bordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let border: String =
            widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
        let line =
            |f: &mut fmt::Formatter<'_>, cells: Vec<&str>, align: &dyn Fn(usize) -> Align| {
                for (column, (cell, width)) in cells.into_iter().zip(&widths).enumerate() {
                    write!(f, "| {} ", pad(cell, *width, align(column)))?;
                }
                writeln!(f, "|")
            };
        writeln!(f, "{border}+")?;
        line(f, self.headings.iter().map(String::as_str).collect(), &|_| self.heading_align)?;
        writeln!(f, "{border}+")?;
        for row in &self.rows {
            let lines = row.iter().map(|cell| cell.lines().count()).max().unwrap_or(0).max(1);
            for at in 0..lines {
                let cells = row.iter().map(|cell| cell.lines().nth(at).unwrap_or("")).collect();
                line(f, cells, &|column| self.columns.get(column).copied().unwrap_or(Align::Left))?;
            }
        }
        writeln!(f, "{border}+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_the_right_and_headings_at_the_left() {
        let mut table = Bordered::new(["GROUPING", "CIDR", "IPS TOTAL"]).column([2], Align::Right);
        table.row(["IP Pool".into(), "10.66.0.0/29".into(), "8".into()]);
        let expected = "\
+----------+--------------+-----------+
| GROUPING | CIDR         | IPS TOTAL |
+----------+--------------+-----------+
| IP Pool  | 10.66.0.0/29 |         8 |
+----------+--------------+-----------+
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_spare_blank_of_a_centred_text_goes_to_the_right() {
        let mut table = Bordered::new(["STATE", "SINCE"]).headings(Align::Centre);
        table.row(["up".into(), "23:30:04".into()]);
        table.row(["start".into(), "two\nlines".into()]);
        let expected = "\
+-------+----------+
| STATE |  SINCE   |
+-------+----------+
| up    | 23:30:04 |
| start | two      |
|       | lines    |
+-------+----------+
";
        assert_eq!(table.to_string(), expected);
    }
}
