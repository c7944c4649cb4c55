//! Quantiles, and how sure a median is. No shape of the distribution is assumed anywhere.

use serde::{Deserialize, Serialize};

/// The value that a share `q` of the values do not exceed (the nearest rank); not a number if there
/// are none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// A median with the interval in which the true one is with a probability of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Median {
    /// The median.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end. Of fewer than six values the interval is their range, which is less sure.
    pub high: f64,
}

impl Median {
    /// The median of values that are independent of each other. The interval lies between two of the
    /// values: how many of them are below the true median is a matter of tossing a coin for each.
    pub fn of(values: &[f64]) -> Option<Median> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = outside(sorted.len());
        let middle = (sorted[last / 2] + sorted[last.div_ceil(2)]) / 2.0;
        Some(Median { median: middle, low: sorted[at], high: sorted[last - at] })
    }

    /// The ratio of two series, pair by pair: what disturbed both halves of a pair falls out.
    pub fn of_ratios(numerators: &[f64], denominators: &[f64]) -> Option<Median> {
        let ratios: Vec<f64> =
            numerators.iter().zip(denominators).map(|(above, below)| above / below).collect();
        Median::of(&ratios)
    }

    /// A number that is what it is.
    pub fn exactly(value: f64) -> Median {
        Median { median: value, low: value, high: value }
    }

    /// All three, `factor` times.
    pub fn times(self, factor: f64) -> Median {
        Median { median: self.median * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// How many of the smallest of `n` values, and of the largest, lie outside of the interval: as many
/// as are all on one side of the median in less than 2.5 % of all cases.
fn outside(n: usize) -> usize {
    // The chance of exactly `k` heads in `n` tosses, from one `k` to the next, in logarithms: of
    // some thousand tosses the first is too small for a number.
    let mut chance = -(n as f64) * std::f64::consts::LN_2;
    let mut at_most = chance.exp();
    let mut k = 0;
    while at_most <= 0.025 && k < n / 2 {
        chance += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
        at_most += chance.exp();
        k += 1;
    }
    // `at_most` is now the chance of at most `k` heads, and too large, unless the loop never ran.
    k.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(quantile(&values, 0.5), 3.0);
        assert_eq!(quantile(&values, 0.95), 5.0);
        assert_eq!(quantile(&values, 0.2), 1.0);
        assert_eq!(quantile(&values, 0.0), 1.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.95), 95.0);
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    /// The ranks of the tables: n = 10 takes the 2nd and the 9th value, n = 100 the 40th and the
    /// 61st (95 % and a little more).
    #[test]
    fn the_interval_has_the_ranks_of_the_tables() {
        for (n, below) in [(5, 0), (6, 0), (9, 1), (10, 1), (20, 5), (50, 17), (100, 39)] {
            assert_eq!(outside(n), below, "{n}");
        }
        // No overflow and no underflow: about 1.96 standard deviations from the middle.
        let below = outside(10_000);
        assert!((4_890..4_910).contains(&below), "{below}");
    }

    #[test]
    fn a_median_of_few_values_spans_them_all() {
        let three = Median::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!(three, Median { median: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(Median::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Median::of(&[]), None);
    }

    /// A disturbance that hits both of a pair changes nothing.
    #[test]
    fn ratios_are_of_pairs() {
        let below: Vec<f64> = (0..20).map(|n| if n % 5 == 0 { 100.0 } else { 10.0 }).collect();
        let above: Vec<f64> = below.iter().map(|value| value * 0.25).collect();
        let ratio = Median::of_ratios(&above, &below).unwrap();
        assert_eq!(ratio, Median { median: 0.25, low: 0.25, high: 0.25 });
        assert_eq!(ratio.times(4.0).median, 1.0);
    }

    /// Of 1,000 samples of a known distribution about 95 % of the intervals hold the true median.
    #[test]
    fn the_interval_holds_the_true_median_as_often_as_it_says() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(7);
        let mut held = 0;
        for _ in 0..1_000 {
            // Skewed, as times are: the true median is 0.25.
            let values: Vec<f64> = (0..41).map(|_| random.random::<f64>().powi(2)).collect();
            let interval = Median::of(&values).unwrap();
            held += u32::from(interval.low <= 0.25 && 0.25 <= interval.high);
        }
        assert!((935..=985).contains(&held), "{held}");
    }
}
