//! How a text is written: plain where that reads back as the same text, else in quotes, and with
//! several lines as a block.

use crate::input::yaml::scalar::{Scalar, is_base_60, resolve};

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Between single quotes.
    Single,
    /// Between double quotes, with escapes.
    Double,
    /// As a block, line by line.
    Literal,
}

/// Chooses the style of a text.
pub fn style_of(text: &str, is_key: bool) -> Style {
    let facts = Facts::of(text);
    if text.contains('\n') {
        return match facts.block_fits && !is_key {
            true => Style::Literal,
            false => Style::Double,
        };
    }
    if resolve(text) != Scalar::Text || is_base_60(text) {
        return Style::Double;
    }
    match facts {
        Facts { quotes_fit: false, .. } => Style::Double,
        Facts { plain_fits: false, .. } => Style::Single,
        _ => Style::Plain,
    }
}

/// What a text may be written as.
struct Facts {
    plain_fits: bool,
    quotes_fit: bool,
    block_fits: bool,
}

impl Facts {
    fn of(text: &str) -> Facts {
        let chars: Vec<char> = text.chars().collect();
        let blank = |at: usize| chars.get(at).is_none_or(|c| matches!(c, ' ' | '\t' | '\n'));
        let mut indicator = text.starts_with("---") || text.starts_with("...");
        for (at, c) in chars.iter().enumerate() {
            let followed_by_blank = blank(at + 1);
            indicator |= match c {
                '#' if at > 0 => blank(at - 1),
                ':' => followed_by_blank,
                '?' | '-' if at == 0 => followed_by_blank,
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"'
                | '%' | '@' | '`' => at == 0,
                _ => false,
            };
        }
        let special = chars.iter().any(|c| !is_printable(*c));
        let edge = |c: Option<&char>| matches!(c, Some(' ' | '\n'));
        let blank_before_break = text.contains(" \n");
        Facts {
            plain_fits: !indicator && !edge(chars.first()) && !edge(chars.last()),
            quotes_fit: !special,
            block_fits: !special && !blank_before_break && !text.ends_with(' '),
        }
    }
}

/// COMPAT: what lies beyond 16 bits counts as unprintable, as upstream's writer has it.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
}

/// What stands for a character between double quotes, if not itself.
pub fn escape(c: char) -> Option<String> {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        c if is_printable(c) => return None,
        c => {
            let code = u32::from(c);
            return Some(match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    Some(format!("\\{short}"))
}
