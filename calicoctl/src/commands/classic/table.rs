//! Tables as the early commands print them (`reference/calicoctl.md` section 2.5): all is centred,
//! and rows are sorted.

use crate::output::bordered::{Align, Bordered};

/// A centred table of these rows, sorted.
pub fn centred<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>) -> Bordered {
    aligned(headings, rows, Align::Centre)
}

/// A table at the left of these rows, sorted.
pub fn left<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>) -> Bordered {
    aligned(headings, rows, Align::Left)
}

fn aligned<const N: usize>(
    headings: [&str; N],
    mut rows: Vec<[String; N]>,
    align: Align,
) -> Bordered {
    rows.sort();
    let mut table = Bordered::new(headings).headings(align).column(0..N, align);
    rows.into_iter().for_each(|row| table.row(row));
    table
}
