//! A picture as a vector image: one file with everything in it, for light and dark pages, with a
//! title and a legend, and with words for every cell when the pointer is on it.

use std::fmt::Write;

use super::palette::{self, hue, shade};
use super::picture::{Cell, Counts, NodeEntry, Owner, Picture, PoolPicture, Row};
use super::terminal::{big, numbers};

/// The width of the whole, and of the margins.
const WIDTH: f64 = 1040.0;
const MARGIN: f64 = 24.0;
/// The height of a row of cells, and of a line of text.
const ROW: f64 = 16.0;
const LINE: f64 = 20.0;
/// The largest width of a cell.
const WIDEST: f64 = 28.0;
/// The most characters of a line.
const LONGEST_LINE: usize = 140;
/// How many nodes the legend tells, and in how many columns.
const NODES: usize = 48;
const COLUMNS: usize = 4;

const STYLE: &str = "\
text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2933; }\n\
.title { font-size: 20px; font-weight: 600; }\n\
.pool { font-size: 16px; font-weight: 600; }\n\
.small { fill: #5b6773; }\n\
.address { font: 11px ui-monospace, monospace; fill: #5b6773; }\n\
.page { fill: #ffffff; }\n\
.free { fill: #eceff3; }\n\
.leak { fill: none; stroke: #d62839; stroke-width: 2; }\n\
.borrow { fill: #ffffff; stroke: #1f2933; stroke-width: 0.6; }\n\
@media (prefers-color-scheme: dark) {\n\
text { fill: #e6e9ed; }\n\
.small, .address { fill: #9aa5b1; }\n\
.page { fill: #161b22; }\n\
.free { fill: #232b35; }\n\
}\n";

const PATTERNS: &str = "\
<pattern id=\"cooling\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect width=\"2\" height=\"5\" fill=\"#ffffff\" fill-opacity=\"0.75\"/></pattern>\n\
<pattern id=\"reserved\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\">\
<path d=\"M0 0L4 4M4 0L0 4\" stroke=\"#7b8794\" stroke-width=\"0.9\"/></pattern>\n";

/// Draws it.
pub fn draw(picture: &Picture) -> String {
    let mut page = Page { body: String::new(), y: MARGIN + 16.0, picture };
    page.text(MARGIN, "title", "Addresses of the IP pools");
    page.y += LINE * 1.5;
    for pool in &picture.pools {
        page.pool(pool);
    }
    if picture.pools.is_empty() {
        page.text(MARGIN, "small", "There are no IP pools.");
        page.y += LINE;
    }
    page.legend();
    let (height, body) = (page.y + MARGIN, page.body);
    let pools: Vec<String> = picture
        .pools
        .iter()
        .map(|pool| format!("{} {}: {}", pool.name, pool.shown, numbers(&pool.counts)))
        .collect();
    let description = escape(&pools.join(". "));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title description\">\n\
         <title id=\"title\">Addresses of the IP pools</title>\n\
         <desc id=\"description\">{description}</desc>\n\
         <style>\n{STYLE}</style>\n<defs>\n{PATTERNS}</defs>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

struct Page<'a> {
    body: String,
    /// Where the next line stands.
    y: f64,
    picture: &'a Picture,
}

impl Page<'_> {
    fn text(&mut self, x: f64, class: &str, text: &str) {
        let (y, text) = (self.y, escape(text));
        let _ = writeln!(self.body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>");
    }

    fn pool(&mut self, pool: &PoolPicture) {
        let mut title = format!("{}  {}", pool.name, pool.cidr);
        if pool.shown != pool.cidr {
            let _ = write!(title, "  (shown: {})", pool.shown);
        }
        self.text(MARGIN, "pool", &title);
        self.y += LINE;
        let (claimed, all) = (pool.counts.blocks, big(pool.blocks));
        let mut line = format!(
            "{claimed} of {all} blocks of /{} claimed; {}",
            pool.block_size,
            numbers(&pool.counts)
        );
        for note in &pool.notes {
            let _ = write!(line, "; {note}");
        }
        self.text(MARGIN, "small", &line);
        self.y += 8.0;
        self.gauge(&pool.counts);
        let label = self.label_width(pool);
        let columns = pool.rows.iter().map(|row| match row {
            Row::Cells(cells) => cells.len(),
            Row::Gap(_) => 0,
        });
        let columns = columns.max().unwrap_or(1).max(1) as f64;
        let cell = ((WIDTH - 2.0 * MARGIN - label) / columns).min(WIDEST);
        for row in &pool.rows {
            match row {
                Row::Gap(blocks) => self.gap(*blocks, label),
                Row::Cells(cells) => self.row(cells, label, cell),
            }
            self.y += ROW;
        }
        self.y += LINE * 0.7;
        for line in pool.remarks.iter().flat_map(|remark| wrapped(remark)) {
            self.text(MARGIN, "small", &line);
            self.y += LINE * 0.85;
        }
        self.y += LINE;
    }

    /// How full it is, as a bar: in use, cooling down, free.
    fn gauge(&mut self, counts: &Counts) {
        let (all, y) = (WIDTH - 2.0 * MARGIN, self.y);
        let part = |count: u128| all * count as f64 / counts.capacity.max(1) as f64;
        let (used, cooling) = (part(counts.in_use), part(counts.cooling));
        let colour = shade(hue(0), 0.45).hex();
        let _ = writeln!(
            self.body,
            "<rect class=\"free\" x=\"{MARGIN}\" y=\"{y}\" width=\"{all}\" height=\"5\" rx=\"2\"/>\
             <rect x=\"{MARGIN}\" y=\"{y}\" width=\"{used:.1}\" height=\"5\" rx=\"2\" fill=\"{colour}\"/>\
             <rect x=\"{:.1}\" y=\"{y}\" width=\"{cooling:.1}\" height=\"5\" fill=\"{colour}\" \
             fill-opacity=\"0.4\"/>",
            MARGIN + used
        );
        self.y += 14.0;
    }

    fn label_width(&self, pool: &PoolPicture) -> f64 {
        let labels = pool.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => cells.first().map(|cell| cell.cidr.network().to_string().len()),
            Row::Gap(_) => None,
        });
        labels.max().unwrap_or(0) as f64 * 7.0 + 10.0
    }

    fn gap(&mut self, blocks: u128, label: f64) {
        self.y += 11.0;
        let text = format!("… {} free block{}", big(blocks), if blocks == 1 { "" } else { "s" });
        self.text(MARGIN + label, "small", &text);
        self.y -= 11.0;
    }

    fn row(&mut self, cells: &[Cell], label: f64, width: f64) {
        let (y, left) = (self.y, MARGIN + label);
        if let Some(first) = cells.first() {
            self.y += 11.0;
            self.text(MARGIN, "address", &first.cidr.network().to_string());
            self.y -= 11.0;
        }
        // What nobody has is one bar: a picture of a large pool stays small.
        let all = width * cells.len() as f64 - 1.0;
        let _ = writeln!(
            self.body,
            "<rect class=\"free\" x=\"{left:.1}\" y=\"{y}\" width=\"{all:.1}\" height=\"{}\" rx=\"2\"/>",
            ROW - 2.0
        );
        for (column, cell) in cells.iter().enumerate() {
            let is_empty = cell.owner == Owner::None
                && cell.counts == Counts { capacity: cell.counts.capacity, ..Counts::default() };
            if !is_empty {
                self.cell(cell, left + width * column as f64, width - 1.0);
            }
        }
    }

    fn cell(&mut self, cell: &Cell, x: f64, width: f64) {
        let (y, height, counts) = (self.y, ROW - 2.0, &cell.counts);
        let words = escape(&self.words(cell));
        let colour = |lightness| match cell.owner {
            Owner::Node(place) => shade(hue(place), lightness),
            _ => shade(palette::NEUTRAL, lightness),
        };
        let shape = |class: &str| {
            format!(
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\" {class}/>"
            )
        };
        let _ = write!(self.body, "<g><title>{words}</title>");
        if cell.owner != Owner::None {
            // From pale to deep as it fills up; something in use is always seen.
            let share =
                if counts.in_use + counts.cooling > 0 { counts.share().max(0.12) } else { 0.0 };
            let fill = format!("fill=\"{}\"", colour(0.86 - 0.46 * share).hex());
            self.body.push_str(&shape(&fill));
        }
        if counts.reserved > 0 && counts.in_use == 0 {
            let part = counts.reserved as f64 / counts.capacity.max(1) as f64;
            let _ = write!(
                self.body,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{height}\" fill=\"url(#reserved)\"/>",
                width * part
            );
        }
        if counts.cooling > 0 {
            self.body.push_str(&shape("fill=\"url(#cooling)\""));
        }
        if counts.borrowed > 0 {
            self.body.push_str(&corner(x, y, width.min(9.0)));
        }
        if counts.leaked > 0 {
            self.body.push_str(&shape("class=\"leak\""));
        }
        self.body.push_str("</g>\n");
    }

    /// What the pointer tells of a cell.
    fn words(&self, cell: &Cell) -> String {
        let name = |place: usize| {
            self.picture.nodes.get(place).map_or("an unknown node", |node| node.name.as_str())
        };
        let owner = match cell.owner {
            Owner::None => "in no block".to_owned(),
            Owner::Nobody => "of a block that nobody owns".to_owned(),
            Owner::Node(place) => format!("of {}", name(place)),
            Owner::Several => "of several nodes".to_owned(),
        };
        let one = cell.counts.capacity == 1;
        let what = if one { cell.cidr.addr().to_string() } else { cell.cidr.to_string() };
        let user = cell.user.map(|place| format!("; used by {}", name(place))).unwrap_or_default();
        format!("{what}, {owner}: {}{user}", numbers(&cell.counts))
    }

    fn legend(&mut self) {
        let shown = self.picture.nodes_in_sight();
        let column = (WIDTH - 2.0 * MARGIN) / COLUMNS as f64;
        self.text(MARGIN, "pool", "Legend");
        self.y += LINE;
        for row in shown.chunks(COLUMNS).take(NODES / COLUMNS) {
            for (at, (place, node)) in row.iter().enumerate() {
                let x = MARGIN + column * at as f64;
                self.swatch(x, &format!("fill=\"{}\"", shade(hue(*place), 0.5).hex()));
                let NodeEntry { name, blocks, addresses } = node;
                self.text(x + 22.0, "", &format!("{name}: {blocks} blocks, {addresses} in use"));
            }
            self.y += LINE;
        }
        if shown.len() > NODES {
            self.text(MARGIN, "small", &format!("and {} further nodes", shown.len() - NODES));
            self.y += LINE;
        }
        self.y += LINE * 0.4;
        let (pale, deep) = (shade(hue(0), 0.86).hex(), shade(hue(0), 0.4).hex());
        let marks: [(&str, String); 7] = [
            ("no block", "class=\"free\"".to_owned()),
            ("an empty block", format!("fill=\"{pale}\"")),
            ("a full block, or an address in use", format!("fill=\"{deep}\"")),
            ("reserved", "fill=\"url(#reserved)\"".to_owned()),
            ("cooling down", "fill=\"url(#cooling)\"".to_owned()),
            ("borrowed", String::new()),
            ("leaked: nobody uses it", "class=\"leak\"".to_owned()),
        ];
        for row in marks.chunks(COLUMNS) {
            for (at, (meaning, style)) in row.iter().enumerate() {
                let x = MARGIN + column * at as f64;
                if style.contains("cooling") || style.is_empty() || style.contains("leak") {
                    self.swatch(x, &format!("fill=\"{deep}\""));
                }
                if style.is_empty() {
                    let y = self.y - 11.0;
                    self.body.push_str(&corner(x, y, 9.0));
                } else {
                    self.swatch(x, style);
                }
                self.text(x + 22.0, "", meaning);
            }
            self.y += LINE;
        }
    }

    fn swatch(&mut self, x: f64, style: &str) {
        let y = self.y - 11.0;
        let _ = writeln!(
            self.body,
            "<rect x=\"{x}\" y=\"{y}\" width=\"16\" height=\"14\" rx=\"2\" {style}/>"
        );
    }
}

/// A remark in lines that fit: at the commas.
fn wrapped(remark: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for part in remark.split_inclusive(", ") {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() || line.len() + part.len() <= LONGEST_LINE {
                line.push_str(part);
            } else {
                lines.push(part.to_owned());
            }
        }
    }
    lines
}

/// The corner of a cell that is borrowed.
fn corner(x: f64, y: f64, side: f64) -> String {
    format!("<path class=\"borrow\" d=\"M{x:.1} {y}h{side:.1}l-{side:.1} {side:.1}z\"/>")
}

/// A text inside XML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
