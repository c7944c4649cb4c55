//! What an unquoted word means in YAML 1.1, as upstream's parser reads and writes it
//! (`reference/calicoctl.md` section 3.4): `yes` is a boolean, `0x10` a number, `012` ten.

/// What an unquoted word means.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Nothing: an empty word, `~`, `null`.
    Null,
    /// `y`, `yes`, `on`, `true`, and their opposites.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Another number.
    Float(f64),
    /// A date, which stays the text that it is. (It is told apart because it is quoted when it is
    /// written.)
    Timestamp,
    /// Any other text.
    Text,
}

/// Finds out what an unquoted word means.
pub fn resolve(word: &str) -> Scalar {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match word.as_bytes().first() {
        Some(b'.') if is_float(word) => word.parse().map_or(Scalar::Text, Scalar::Float),
        Some(b'+' | b'-' | b'0'..=b'9') => number(word),
        _ => Scalar::Text,
    }
}

fn number(word: &str) -> Scalar {
    if is_timestamp(word) {
        return Scalar::Timestamp;
    }
    let plain = word.replace('_', "");
    if let Some(int) = int(&plain) {
        return Scalar::Int(int);
    }
    match is_float(&plain) {
        true => plain.parse().map_or(Scalar::Text, Scalar::Float),
        false => Scalar::Text,
    }
}

/// A whole number of 64 bits, with or without a sign: decimal, `0x`, `0o`, `0b`, or octal after a
/// zero.
fn int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -size } else { size };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
}

/// Digits with at most one point, and perhaps an exponent.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_is_one = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent_is_one
}

/// `2026-11-21`, `2026-11-21 15:04:05.5`, `2026-11-21T15:04:05Z`.
fn is_timestamp(word: &str) -> bool {
    let (date, rest) = match word.find(['T', 't', ' ']) {
        Some(at) => word.split_at(at),
        None => (word, ""),
    };
    let mut date = date.split('-');
    let year = date.next().is_some_and(|year| year.len() == 4 && part(year, 0, 9999));
    let month = date.next().is_some_and(|month| part(month, 1, 12));
    let day = date.next().is_some_and(|day| part(day, 1, 31));
    if !(year && month && day && date.next().is_none()) {
        return false;
    }
    match rest.as_bytes().first() {
        None => true,
        Some(b' ') => is_time(&rest[1..]),
        Some(_) => {
            let rest = &rest[1..];
            match rest.strip_suffix('Z') {
                Some(time) => is_time(time),
                None => rest.rfind(['+', '-']).is_some_and(|at| {
                    let (time, zone) = rest.split_at(at);
                    let zone = zone[1..].split_once(':');
                    is_time(time)
                        && zone.is_some_and(|(hours, minutes)| {
                            part(hours, 0, 24) && part(minutes, 0, 60)
                        })
                }),
            }
        }
    }
}

fn is_time(text: &str) -> bool {
    let (text, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = text.split(':');
    let mut next = |most| parts.next().is_some_and(|text| part(text, 0, most));
    let all = next(23) && next(59) && next(59);
    all && parts.next().is_none()
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit())
}

fn part(text: &str, least: u32, most: u32) -> bool {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    digits && text.parse().is_ok_and(|number: u32| (least..=most).contains(&number))
}

/// Numbers in base 60, like `12:30`: text to us, but others may think otherwise, so that they are
/// written with quotes.
pub fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = text.split(':');
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let first = parts.next().unwrap_or_default();
    let mut further = 0;
    let fits = parts.all(|part| {
        further += 1;
        matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
    });
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && fits
        && further > 0
        && digits(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_yaml_1_1_says() {
        for (word, expected) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("y", Scalar::Bool(true)),
            ("On", Scalar::Bool(true)),
            ("NO", Scalar::Bool(false)),
            ("tRUE", Scalar::Text),
            ("1", Scalar::Int(1)),
            ("+1_000", Scalar::Int(1000)),
            ("-7", Scalar::Int(-7)),
            ("012", Scalar::Int(10)),
            ("0o12", Scalar::Int(10)),
            ("0x1F", Scalar::Int(31)),
            ("0b11", Scalar::Int(3)),
            ("18446744073709551615", Scalar::Int(u64::MAX.into())),
            ("18446744073709551616", Scalar::Float(18_446_744_073_709_551_616.0)),
            ("08", Scalar::Float(8.0)),
            ("1.10", Scalar::Float(1.1)),
            (".5", Scalar::Float(0.5)),
            ("1e3", Scalar::Float(1000.0)),
            ("1.", Scalar::Float(1.0)),
            (".", Scalar::Text),
            ("-", Scalar::Text),
            ("--1", Scalar::Text),
            ("0x", Scalar::Text),
            ("1.2.3", Scalar::Text),
            ("10.0.0.0/8", Scalar::Text),
            ("12:30", Scalar::Text),
            ("2026-11-21", Scalar::Timestamp),
            ("2026-1-2T3:4:5.6Z", Scalar::Timestamp),
            ("2026-11-21T15:04:05+01:00", Scalar::Timestamp),
            ("2026-11-21 15:04:05", Scalar::Timestamp),
            ("2026-13-21", Scalar::Text),
            ("2026-11-21T15:04:05", Scalar::Text),
            ("2026-11-21x", Scalar::Text),
            ("node-1", Scalar::Text),
        ] {
            assert_eq!(resolve(word), expected, "{word}");
        }
    }

    #[test]
    fn base_60_is_told_apart() {
        for yes in ["1:2", "64512:1:2", "09:10:11", "-1:59", "1:2.5"] {
            assert!(is_base_60(yes), "{yes}");
        }
        for no in ["64512:100", "1:60", "a:1", "1", "fe80::1", "1:", "2001:db8::"] {
            assert!(!is_base_60(no), "{no}");
        }
    }
}
