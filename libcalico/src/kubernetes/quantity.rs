//! Kubernetes' quantities, like `10M`, `1.5Gi` or `2e3`, as whole numbers.

/// What a suffix multiplies by: a power of ten, or of two.
enum Scale {
    Ten(i32),
    Two(u32),
}

/// More decimals than this make no difference, not even with the largest suffix.
const FINEST: usize = 20;

/// Reads a quantity. A fraction is rounded away from zero, as Kubernetes does, and what is beyond 63
/// bits is their limit.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // What is finer than any suffix only tells that something is left to round up.
    let fraction = fraction.trim_end_matches('0');
    let (fraction, finer) = match fraction.split_at_checked(FINEST) {
        Some((fraction, rest)) => (fraction, !rest.is_empty()),
        None => (fraction, false),
    };
    let decimals = i32::try_from(fraction.len()).ok()?;
    let digits = digits(whole.chars().chain(fraction.chars()));
    let magnitude = match digits.map(|digits| digits + u128::from(finer)) {
        // As many digits as that are beyond any limit, whatever the suffix makes of them.
        None => scale(suffix).map(|_| u128::MAX),
        Some(digits) => scale(suffix).map(|scale| match scale {
            Scale::Ten(power) => shift(digits, power.saturating_sub(decimals)),
            Scale::Two(power) => match digits.checked_mul(1 << power) {
                Some(scaled) => shift(scaled, -decimals),
                None => u128::MAX,
            },
        }),
    }?;
    let magnitude = i64::try_from(magnitude).unwrap_or(i64::MAX);
    Some(if negative { -magnitude } else { magnitude })
}

/// The digits as a number, if it fits.
fn digits(digits: impl Iterator<Item = char>) -> Option<u128> {
    digits
        .filter_map(|c| c.to_digit(10))
        .try_fold(0u128, |number, digit| number.checked_mul(10)?.checked_add(digit.into()))
}

/// A number times a power of ten, rounded up.
fn shift(number: u128, power: i32) -> u128 {
    let Some(factor) = 10u128.checked_pow(power.unsigned_abs()) else {
        return match (number, power > 0) {
            (0, _) => 0,
            (_, true) => u128::MAX,
            (_, false) => 1,
        };
    };
    match power >= 0 {
        true => number.saturating_mul(factor),
        false => number.div_ceil(factor),
    }
}

fn scale(suffix: &str) -> Option<Scale> {
    Some(match suffix {
        "n" => Scale::Ten(-9),
        "u" => Scale::Ten(-6),
        "m" => Scale::Ten(-3),
        "" => Scale::Ten(0),
        "k" => Scale::Ten(3),
        "M" => Scale::Ten(6),
        "G" => Scale::Ten(9),
        "T" => Scale::Ten(12),
        "P" => Scale::Ten(15),
        "E" => Scale::Ten(18),
        "Ki" => Scale::Two(10),
        "Mi" => Scale::Two(20),
        "Gi" => Scale::Two(30),
        "Ti" => Scale::Two(40),
        "Pi" => Scale::Two(50),
        "Ei" => Scale::Two(60),
        exponent => Scale::Ten(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_does() {
        for (text, value) in [
            ("0", 0),
            ("10", 10),
            ("+10", 10),
            ("-10", -10),
            ("1k", 1000),
            ("1.5k", 1500),
            ("10M", 10_000_000),
            ("1Ki", 1024),
            ("1.5Gi", 1_610_612_736),
            ("0.5", 1),
            (".5", 1),
            ("5.", 5),
            ("100m", 1),
            ("1500m", 2),
            ("1n", 1),
            ("-1500m", -2),
            ("1e3", 1000),
            ("1E3", 1000),
            ("1.25e1", 13),
            ("12e-1", 2),
            ("1E", 1_000_000_000_000_000_000),
            ("007", 7),
            ("0.1000", 1),
            ("1.00000000000000000000000000000000000000000001", 2),
            ("0.00000000000000000000000000000000000000000001", 1),
            ("9223372036854775807", i64::MAX),
            ("9223372036854775808", i64::MAX),
            ("100E", i64::MAX),
            ("16Ei", i64::MAX),
            ("1e999999999", i64::MAX),
            ("1e-999999999", 1),
            ("0e999999999", 0),
            ("99999999999999999999999999999999999999999999", i64::MAX),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "-",
            "k",
            ".",
            "1.2.3",
            "1K",
            "1kB",
            "1 k",
            " 1",
            "1ki",
            "1e",
            "1e1.5",
            "0x10",
            "--1",
            "1Zi",
            "ten",
            "1e99999999999",
            "١",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_numbers_are_themselves(number in any::<i64>()) {
            prop_assume!(number != i64::MIN);
            prop_assert_eq!(parse(&number.to_string()), Some(number));
        }
    }
}
