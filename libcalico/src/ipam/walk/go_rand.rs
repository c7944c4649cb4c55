//! Go's `math/rand` source, as far as the order of blocks depends on it (`reference/ipam.md` 4.1):
//! an additive lagged Fibonacci generator, seeded through a Lehmer generator and a fixed table.

use super::go_rand_table::COOKED;

const LENGTH: usize = 607;
const TAP: usize = 273;
const LEHMER_MODULUS: i64 = (1 << 31) - 1;
const LEHMER_MULTIPLIER: i64 = 48271;

/// A seeded source. The same seed gives the same numbers as Go does.
pub(super) struct GoRand {
    tap: usize,
    feed: usize,
    state: [i64; LENGTH],
}

impl GoRand {
    pub(super) fn new(seed: i64) -> GoRand {
        let mut x = seed % LEHMER_MODULUS;
        if x < 0 {
            x += LEHMER_MODULUS;
        }
        if x == 0 {
            x = 89_482_311;
        }
        let mut lehmer = || {
            x = x * LEHMER_MULTIPLIER % LEHMER_MODULUS;
            x
        };
        for _ in 0..20 {
            lehmer();
        }
        let mut state = [0; LENGTH];
        for (word, cooked) in state.iter_mut().zip(COOKED) {
            *word = (lehmer() << 40) ^ (lehmer() << 20) ^ lehmer() ^ cooked;
        }
        GoRand { tap: 0, feed: LENGTH - TAP, state }
    }

    fn next_u64(&mut self) -> u64 {
        self.tap = self.tap.checked_sub(1).unwrap_or(LENGTH - 1);
        self.feed = self.feed.checked_sub(1).unwrap_or(LENGTH - 1);
        let sum = self.state[self.feed].wrapping_add(self.state[self.tap]);
        self.state[self.feed] = sum;
        sum as u64
    }

    /// The next 32 bits.
    pub(super) fn next_u32(&mut self) -> u32 {
        ((self.next_u64() & (u64::MAX >> 1)) >> 31) as u32
    }

    /// A number below `limit`, drawn as Go draws big integers: 64-bit words of two outputs each,
    /// the top word cut to the limit's length in bits, and again while it is too large.
    pub(super) fn below(&mut self, limit: u128) -> u128 {
        let bits = 128 - limit.leading_zeros();
        let mask = if bits == 128 { u128::MAX } else { (1u128 << bits) - 1 };
        loop {
            let mut drawn = self.next_word();
            if bits > 64 {
                drawn |= self.next_word() << 64;
            }
            drawn &= mask;
            if drawn < limit || limit == 0 {
                return drawn;
            }
        }
    }

    fn next_word(&mut self) -> u128 {
        let low = u128::from(self.next_u32());
        low | u128::from(self.next_u32()) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_equal_go() {
        let mut one = GoRand::new(1);
        assert_eq!(
            [one.next_u32(), one.next_u32(), one.next_u32()],
            [2596996162, 4039455774, 2854263694]
        );
        let mut n1 = GoRand::new(1668749522);
        assert_eq!(
            [n1.next_u32(), n1.next_u32(), n1.next_u32()],
            [2583572206, 1335948070, 3027159202]
        );
    }

    #[test]
    fn a_draw_too_large_is_drawn_again() {
        assert_eq!(GoRand::new(1668749522).below(64), 34);
    }
}
