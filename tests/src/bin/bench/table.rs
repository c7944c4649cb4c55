//! Tables that read well in a terminal and are Markdown at the same time.

/// A table. A column is on the right if all that is in it are numbers.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|&text| text.to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, each with its end.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
        let width = |at: usize| {
            let widths = self.rows.iter().map(|row| cell(row, at).chars().count());
            widths.max().unwrap_or(0).max(3)
        };
        let is_number = |at: usize| {
            at > 0
                && self.rows.iter().skip(1).all(|row| {
                    cell(row, at).starts_with(|c: char| c.is_ascii_digit() || c == '–' || c == '-')
                })
        };
        let mut text = String::new();
        for (line, row) in self.rows.iter().enumerate() {
            for at in 0..columns {
                let (cell, width) = (cell(row, at), width(at));
                match is_number(at) {
                    true => text.push_str(&format!("| {cell:>width$} ")),
                    false => text.push_str(&format!("| {cell:<width$} ")),
                }
            }
            text.push_str("|\n");
            if line == 0 {
                for at in 0..columns {
                    let dashes = "-".repeat(width(at));
                    text.push_str(&match is_number(at) {
                        true => format!("|-{dashes}:"),
                        false => format!("|-{dashes}-"),
                    });
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_in_them() {
        let mut table = Table::new(&["who", "ms", "what"]);
        table.row(["ptp – plain".to_owned(), "12.5".to_owned(), "slow".to_owned()]);
        table.row(["ours".to_owned(), "–".to_owned(), "3 times as quick".to_owned()]);
        let expected = "\
| who         |   ms | what             |
|-------------|-----:|------------------|
| ptp – plain | 12.5 | slow             |
| ours        |    – | 3 times as quick |
";
        assert_eq!(table.text(), expected);
    }
}
