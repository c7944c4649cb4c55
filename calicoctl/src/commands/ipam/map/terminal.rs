//! A picture in characters: with colours each node has its hue and a cell is filled as far as it is
//! in use; without, each node has a letter, a capital where it is in use.

use std::fmt::Write;

use super::palette::{self, Rgb, hue, shade};
use super::picture::{Cell, Counts, Frame, Owner, Picture, PoolPicture, Row, Scale};

/// The blanks before the first cell: the longest IPv4 address and one more.
const LABEL: usize = 16;
/// The most columns of a cell.
const WIDEST_CELL: usize = 4;
/// How many nodes the legend tells.
const NODES: usize = 26;
/// The ways to fill a cell, from nothing to all.
const FILLED: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Which colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// None: plain ASCII.
    None,
    /// The 256 of every terminal.
    Cube,
    /// All.
    Full,
}

/// The cells that fit beside the labels.
pub fn frame(width: usize) -> Frame {
    let room = width.saturating_sub(LABEL).max(8);
    let columns = 1 << room.ilog2();
    Frame { columns: columns.min(64), rows: 32 }
}

/// Draws it.
pub fn draw(picture: &Picture, width: usize, colours: Colours) -> String {
    let mut text = String::new();
    if picture.pools.is_empty() {
        return "There are no IP pools.\n".to_owned();
    }
    let drawing = Drawing { picture, width, colours };
    for pool in &picture.pools {
        drawing.pool(pool, &mut text);
        text.push('\n');
    }
    drawing.legend(&mut text);
    text
}

struct Drawing<'a> {
    picture: &'a Picture,
    width: usize,
    colours: Colours,
}

/// What stands in a cell's place, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Leaked,
    Borrowed,
    Cooling,
    Reserved,
}

impl Mark {
    const ALL: [(Mark, char, &'static str); 4] = [
        (Mark::Leaked, '!', "leaked: allocated, and nobody uses it"),
        (Mark::Borrowed, '^', "borrowed: used by another node than the block's"),
        (Mark::Cooling, '~', "cooling down: released a short while ago"),
        (Mark::Reserved, '#', "reserved: not given out by itself"),
    ];

    fn of(counts: &Counts) -> Option<Mark> {
        if counts.leaked > 0 {
            Some(Mark::Leaked)
        } else if counts.borrowed > 0 {
            Some(Mark::Borrowed)
        } else if counts.cooling > 0 {
            Some(Mark::Cooling)
        } else {
            (counts.reserved == counts.capacity && counts.in_use == 0).then_some(Mark::Reserved)
        }
    }

    fn character(self) -> char {
        Mark::ALL.iter().find(|(mark, _, _)| *mark == self).map_or('?', |(_, sign, _)| *sign)
    }
}

impl Drawing<'_> {
    fn pool(&self, pool: &PoolPicture, text: &mut String) {
        let Counts { blocks, .. } = pool.counts;
        let mut title = format!("{}  {}", pool.name, pool.cidr);
        if pool.shown != pool.cidr {
            let _ = write!(title, "  (shown: {})", pool.shown);
        }
        let _ = writeln!(text, "{}", self.bold(&title));
        if !pool.notes.is_empty() {
            self.wrapped(&pool.notes.join("; "), text);
        }
        let all = big(pool.blocks);
        self.wrapped(
            &format!(
                "{blocks} of {all} blocks of /{} claimed; {}",
                pool.block_size,
                numbers(&pool.counts)
            ),
            text,
        );
        text.push('\n');
        let columns = pool.rows.iter().map(|row| match row {
            Row::Cells(cells) => cells.len(),
            Row::Gap(_) => 0,
        });
        let columns = columns.max().unwrap_or(1).max(1);
        let label = self.label_width(pool);
        let cell = (self.width.saturating_sub(label) / columns).clamp(1, WIDEST_CELL);
        for row in &pool.rows {
            match row {
                Row::Gap(blocks) => {
                    let plural = if *blocks == 1 { "" } else { "s" };
                    let gap = format!("{:label$}... {} free block{plural}", "", big(*blocks));
                    let _ = writeln!(text, "{}", self.dim(&gap));
                }
                Row::Cells(cells) => {
                    let first = cells.first().map(|cell| cell.cidr.network().to_string());
                    let _ = write!(text, "{:label$}", first.unwrap_or_default());
                    for one in cells {
                        self.cell(one, pool.scale, cell, text);
                    }
                    text.push('\n');
                }
            }
        }
        for remark in &pool.remarks {
            self.wrapped(remark, text);
        }
    }

    /// As wide as the longest label, and a blank.
    fn label_width(&self, pool: &PoolPicture) -> usize {
        let labels = pool.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => cells.first().map(|cell| cell.cidr.network().to_string().len()),
            Row::Gap(_) => None,
        });
        labels.max().unwrap_or(0) + 1
    }

    fn cell(&self, cell: &Cell, scale: Scale, width: usize, text: &mut String) {
        let mark = Mark::of(&cell.counts);
        if self.colours == Colours::None {
            let sign = mark.map_or_else(|| self.letter(cell, scale), Mark::character);
            text.extend(std::iter::repeat_n(sign, width));
            return;
        }
        let hue_of = |owner| match owner {
            Owner::Node(place) => hue(place),
            _ => palette::NEUTRAL,
        };
        let (front, back) = (shade(hue_of(cell.owner), 0.58), shade(hue_of(cell.owner), 0.22));
        let sign = match mark {
            Some(mark) => {
                let front = if mark == Mark::Leaked { palette::ALARM } else { Rgb(255, 255, 255) };
                let back =
                    if cell.owner == Owner::None { shade(palette::NEUTRAL, 0.3) } else { back };
                text.push_str(&self.paint(front, Some(back), true));
                mark.character()
            }
            None if cell.owner == Owner::None => {
                text.push_str(&self.paint(shade(palette::NEUTRAL, 0.4), None, false));
                '·'
            }
            None => {
                text.push_str(&self.paint(front, Some(back), false));
                filled(&cell.counts)
            }
        };
        text.extend(std::iter::repeat_n(sign, width));
        text.push_str("\x1b[0m");
    }

    /// The letter of a cell: a capital where an address, or half of a range, is in use.
    fn letter(&self, cell: &Cell, scale: Scale) -> char {
        let letter = match (cell.owner, cell.user) {
            (Owner::None, _) => return '.',
            (_, Some(user)) if scale == Scale::Address => letter(user),
            (Owner::Node(place), _) => letter(place),
            (Owner::Nobody, _) => '-',
            (Owner::Several, _) => '%',
        };
        let full = cell.counts.in_use > 0 && cell.counts.share() >= 0.5;
        if full && letter == '-' {
            '='
        } else if full {
            letter.to_ascii_uppercase()
        } else {
            letter
        }
    }

    fn legend(&self, text: &mut String) {
        let shown = self.picture.nodes_in_sight();
        for (place, node) in shown.iter().take(NODES) {
            let sign = match self.colours {
                Colours::None => {
                    let letter = letter(*place);
                    format!("{letter}{}", letter.to_ascii_uppercase())
                }
                _ => {
                    let paint =
                        self.paint(shade(hue(*place), 0.58), Some(shade(hue(*place), 0.22)), false);
                    format!("{paint}▄█\x1b[0m")
                }
            };
            let (blocks, addresses) = (node.blocks, node.addresses);
            let (blocks, addresses) =
                (plural(blocks as u128, "block"), plural(addresses, "address"));
            let _ = write!(text, "{sign} ");
            self.wrapped(&format!("{}: {blocks}, {addresses}", node.name), text);
        }
        if shown.len() > NODES {
            let _ = writeln!(text, "++ {} further nodes", shown.len() - NODES);
        }
        let scales: Vec<Scale> = self.picture.pools.iter().map(|pool| pool.scale).collect();
        self.wrapped(&self.scale_legend(&scales), text);
        for (mark, sign, meaning) in Mark::ALL {
            let all = || self.picture.pools.iter().flat_map(|pool| &pool.rows);
            let cells = all().filter_map(|row| match row {
                Row::Cells(cells) => Some(cells),
                Row::Gap(_) => None,
            });
            if cells.flatten().any(|cell| Mark::of(&cell.counts) == Some(mark)) {
                self.wrapped(&format!("{sign}  {meaning}"), text);
            }
        }
    }

    /// What a cell without a mark means.
    fn scale_legend(&self, scales: &[Scale]) -> String {
        let only_addresses = scales.iter().all(|scale| *scale == Scale::Address);
        let cell = match scales {
            _ if only_addresses => "each cell is an address".to_owned(),
            [Scale::Block] => "each cell is a block".to_owned(),
            [Scale::Range(length)] => format!("each cell is a /{length}"),
            _ => "each cell is an address, a block or a range of blocks".to_owned(),
        };
        match self.colours {
            Colours::None if only_addresses => {
                format!(
                    "{cell}: capitals are in use, small letters free in a node's block, . in no block"
                )
            }
            Colours::None => {
                format!(
                    "{cell}: capitals are half full or fuller, . has no block, % several nodes, - nobody"
                )
            }
            _ => format!("{cell}, filled as far as it is in use; · has no block"),
        }
    }

    fn paint(&self, front: Rgb, back: Option<Rgb>, bold: bool) -> String {
        let mut codes = Vec::new();
        if bold {
            codes.push("1".to_owned());
        }
        for (layer, colour) in [(38, Some(front)), (48, back)] {
            let Some(colour) = colour else { continue };
            codes.push(match self.colours {
                Colours::Full => format!("{layer};2;{};{};{}", colour.0, colour.1, colour.2),
                _ => format!("{layer};5;{}", colour.cube()),
            });
        }
        format!("\x1b[{}m", codes.join(";"))
    }

    fn bold(&self, text: &str) -> String {
        match self.colours {
            Colours::None => text.to_owned(),
            _ => format!("\x1b[1m{text}\x1b[0m"),
        }
    }

    fn dim(&self, text: &str) -> String {
        match self.colours {
            Colours::None => text.to_owned(),
            _ => format!("\x1b[2m{text}\x1b[0m"),
        }
    }

    /// A text in lines that fit.
    fn wrapped(&self, line: &str, text: &mut String) {
        let mut used = 0;
        for word in line.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > self.width {
                text.push_str("\n  ");
                used = 2;
            } else if used > 0 {
                text.push(' ');
                used += 1;
            }
            text.push_str(word);
            used += length;
        }
        text.push('\n');
    }
}

/// `5 in use, 1 cooling down, 250 free`: what there is none of isn't told, but for what is in use.
pub fn numbers(counts: &Counts) -> String {
    let mut parts = vec![format!("{} in use", counts.in_use)];
    let mut tell = |count: u128, what: &str| {
        if count > 0 {
            parts.push(format!("{} {what}", big(count)));
        }
    };
    tell(counts.borrowed, "of them borrowed");
    tell(counts.leaked, "of them leaked");
    tell(counts.cooling, "cooling down");
    tell(counts.reserved, "reserved");
    parts.push(format!("{} free", big(counts.free())));
    parts.join(", ")
}

/// A number that people can read.
pub fn big(number: u128) -> String {
    match number {
        0..10_000_000 => number.to_string(),
        _ => format!("2^{:.0}", (number as f64).log2()),
    }
}

fn plural(count: u128, what: &str) -> String {
    let ending = match (count, what.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {what}{ending}")
}

fn letter(place: usize) -> char {
    u8::try_from(place)
        .ok()
        .filter(|place| *place < 26)
        .map_or('+', |place| char::from(b'a' + place))
}

/// How a cell is filled: something in use always shows, and only all is full.
fn filled(counts: &Counts) -> char {
    let steps = (FILLED.len() - 1) as f64;
    let step = match counts.in_use + counts.cooling {
        0 => 0,
        _ => ((counts.share() * steps).floor() as usize).max(1),
    };
    FILLED.get(step).copied().unwrap_or('█')
}
