//! Numbers as Go prints them.

/// A float as Go's `%v` and `%g` print it: in the shortest form that reads back the same, with an
/// exponent of at least two digits below 0.0001 and from a million on.
pub fn go_float(value: f64) -> String {
    if !value.is_finite() {
        return match value.is_nan() {
            true => "NaN".to_owned(),
            false if value > 0.0 => "+Inf".to_owned(),
            false => "-Inf".to_owned(),
        };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value == 0.0 || (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_printed_as_go_does() {
        for (value, expected) in [
            (0.0, "0"),
            (1000.0, "1000"),
            (100.5, "100.5"),
            (-3.0, "-3"),
            (123_456.0, "123456"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (10_000_000.0, "1e+07"),
            (1_234_567.0, "1.234567e+06"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123.25, "123.25"),
            (4_294_967_295.0, "4.294967295e+09"),
        ] {
            assert_eq!(go_float(value), expected);
        }
    }
}
