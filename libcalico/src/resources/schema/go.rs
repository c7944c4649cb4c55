//! Durations and floats in the spelling of Go's standard library, which is what is stored.

/// The units of a duration in nanoseconds, longer names before what they begin with.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration like `1h30m`, `-1.5s` or `0`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let nanos = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(i128::from(nanos))?)?;
        let mut place = i128::from(nanos);
        for digit in fraction.bytes() {
            // Go cuts what is below a nanosecond.
            total += i128::from(digit - b'0') * place / 10;
            place /= 10;
        }
        rest = after;
    }
    i64::try_from(total * sign).ok()
}

/// Writes a duration: `2m0s`, `1h0m0s`, `1.5s`, `250ms`, `0s`.
pub(crate) fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let decimal = |unit: u64, digits: usize| {
        let fraction = format!("{:0digits$}", nanos % unit);
        match fraction.trim_end_matches('0') {
            "" => String::new(),
            fraction => format!(".{fraction}"),
        }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => format!("{sign}{}{}\u{b5}s", nanos / 1_000, decimal(1_000, 3)),
        1_000_000..1_000_000_000 => {
            format!("{sign}{}{}ms", nanos / 1_000_000, decimal(1_000_000, 6))
        }
        _ => {
            let seconds = nanos / 1_000_000_000;
            let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let rest = format!("{rest}{}s", decimal(1_000_000_000, 9));
            match (hours, minutes) {
                (0, 0) => format!("{sign}{rest}"),
                (0, _) => format!("{sign}{minutes}m{rest}"),
                _ => format!("{sign}{hours}h{minutes}m{rest}"),
            }
        }
    }
}

/// A float in its shortest form, with an exponent below 1e-4 and from 1e6 on: Go's `%g`, by which
/// YAML's numbers become text.
pub(crate) fn general(number: f64) -> String {
    let text = format!("{number:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    match exponent.parse::<i32>() {
        Ok(-4..=5) | Err(_) => number.to_string(),
        Ok(power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", power.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, canonical) in [
            ("120s", "2m0s"),
            ("5m", "5m0s"),
            ("1h", "1h0m0s"),
            ("1h2m3s", "1h2m3s"),
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("1500ms", "1.5s"),
            ("250ms", "250ms"),
            ("1.5ms", "1.5ms"),
            ("2us", "2\u{b5}s"),
            ("2\u{3bc}s", "2\u{b5}s"),
            ("7ns", "7ns"),
            ("0", "0s"),
            ("0s", "0s"),
            ("-1m", "-1m0s"),
            ("+.5h", "30m0s"),
            ("1.s", "1s"),
            ("125s", "2m5s"),
        ] {
            assert_eq!(parse_duration(text).map(duration).as_deref(), Some(canonical), "{text}");
        }
        for text in ["", "5", "s", "-", ".s", "1.2.3s", "1 s", "1x", "soon", "1d", "9999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn floats_become_text_as_in_go() {
        for (number, text) in [
            (1.5, "1.5"),
            (0.1, "0.1"),
            (100.0, "100"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (1e21, "1e+21"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1_234_567.5, "1.2345675e+06"),
        ] {
            assert_eq!(general(number), text);
        }
    }
}
