//! Plain tables (`reference/calicoctl.md` section 5.2): no borders, three blanks after every
//! column, the last one too, and an empty line at the end.

use std::fmt;

/// The blanks after the longest cell of a column.
const GAP: usize = 3;

/// A table without borders.
#[derive(Debug, Clone)]
pub struct Plain {
    rows: Vec<Vec<String>>,
}

impl Plain {
    /// A table with these headings.
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Plain {
        Plain { rows: vec![headings.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            for (cell, width) in row.iter().zip(&widths) {
                let blanks = width + GAP - cell.chars().count();
                write!(f, "{cell}{:blanks$}", "")?;
            }
            writeln!(f)?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_ends_in_three_blanks() {
        let mut table = Plain::new(["NAME", "ASN", "IPV6"]);
        table.row(["ü".to_owned(), "(64512)".to_owned(), String::new()]);
        let expected = "\
NAME   ASN       IPV6   \n\
ü      (64512)          \n\
\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_table_without_rows_is_its_headings() {
        assert_eq!(Plain::new(["NAME", "CIDR"]).to_string(), "NAME   CIDR   \n\n");
    }
}
