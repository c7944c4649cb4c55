//! JSON as upstream writes it (`reference/datamodel.md` section 2): fields in declaration order,
//! map keys sorted, no spaces, and `<`, `>`, `&`, U+2028, U+2029 escaped.

use std::io;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::Formatter;

/// Writes a value. The types of this crate always can be.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut writer = serde_json::Serializer::with_formatter(&mut out, GoFormatter);
    value.serialize(&mut writer).expect("writing to memory with text keys can't fail");
    out
}

/// Reads a list or map that upstream writes as `null` when it has none.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        let special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        while let Some((before, found)) =
            rest.char_indices().find(|(_, c)| special(*c)).map(|(at, c)| (&rest[..at], c))
        {
            writer.write_all(before.as_bytes())?;
            write!(writer, "\\u{:04x}", u32::from(found))?;
            rest = &rest[before.len() + found.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn html_characters_are_escaped_as_go_does() {
        let expected = "\"a\\u003cb\\u003e\\u0026\\u2028é\\\"\\n\"";
        assert_eq!(encode(&"a<b>&\u{2028}é\"\n"), expected.as_bytes());
    }
}
