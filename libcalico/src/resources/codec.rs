//! Values to bytes and back, as Go's `encoding/json` would have it (`reference/datamodel.md`
//! section 2): `<`, `>`, `&`, U+2028 and U+2029 are escaped, whole floats have no fraction, null
//! is read as the zero value.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// A stored value that we can't read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the stored {what}: {cause}; look at its value and repair or delete it")]
pub struct DecodeError {
    /// What it should have been: a kind with a name where known, else a type.
    pub what: String,
    /// What is wrong with it.
    #[source]
    pub cause: serde_json::Error,
}

/// Reads a stored value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes)
        .map_err(|cause| DecodeError { what: short_type_name::<T>().to_owned(), cause })
}

/// Writes a value as upstream stores it. For a resource use [`super::Object::encode`], which also
/// leaves out what is not stored.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, GoFormatter))
        .expect("our types have text as keys and a Vec takes every write");
    bytes
}

/// The type's name without its path: `IpPoolSpec`, not `libcalico::resources::…`.
fn short_type_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let end = name.find('<').unwrap_or(name.len());
    name[..end].rsplit("::").next().unwrap_or(name)
}

/// For `deserialize_with`: null stands for the zero value, as Go reads it.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// For `skip_serializing_if`: Go's omitempty of a bool.
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

/// For `skip_serializing_if`: Go's omitempty of a number.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Writes compact JSON with Go's escapes and Go's floats.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = special.chars();
            if let Some(c) = chars.next() {
                write!(writer, "\\u{:04x}", c as u32)?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size != 0.0 && !(1e-6..1e21).contains(&size) {
            let text = format!("{value:e}");
            return match text.split_once('e') {
                Some((digits, exponent)) if !exponent.starts_with('-') => {
                    write!(writer, "{digits}e+{exponent}")
                }
                _ => writer.write_all(text.as_bytes()),
            };
        }
        write!(writer, "{value}")
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        CompactFormatter.write_f32(writer, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Serialize>(value: &T) -> String {
        String::from_utf8(encode(value)).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        assert_eq!(text(&"a<b>&&c"), r#""a\u003cb\u003e\u0026\u0026c""#);
        assert_eq!(text(&"x\u{2028}\u{2029}é\"\\\n\u{1}\u{7f}"), {
            "\"x\\u2028\\u2029é\\\"\\\\\\n\\u0001\u{7f}\""
        });
    }

    #[test]
    fn floats_are_written_as_go_does() {
        for (value, expected) in [
            (1_000_000.0, "1000000"),
            (123.25, "123.25"),
            (-1.0, "-1"),
            (0.0, "0"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (1e20, "100000000000000000000"),
        ] {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn large_counters_stay_exact() {
        let sequence: u64 = 1_795_273_757_746_371_726;
        assert_eq!(text(&decode::<serde_json::Value>(b"18446744073709551615").unwrap()), {
            "18446744073709551615"
        });
        assert_eq!(text(&sequence), "1795273757746371726");
    }

    #[test]
    fn an_error_names_the_type() {
        let error = decode::<Vec<u8>>(b"{}").unwrap_err();
        assert!(error.to_string().starts_with("cannot read the stored Vec: "), "{error}");
    }
}
