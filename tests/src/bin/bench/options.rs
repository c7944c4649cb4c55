//! What can be asked of the bench.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Measures ADD and DEL on simulated hosts: ours, Debian's plugins, and the kernel alone.
///
/// Says how long, never whether that is good: timing is no test's verdict. Needs root.
#[derive(Debug, Clone, Parser)]
#[command(name = "scripts/bench", version, max_term_width = 100)]
pub struct Options {
    /// About a minute instead of ten: fewer rounds, and a crowd for ours and the floor only
    #[arg(long)]
    pub quick: bool,
    /// How many pods are on a full host already
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub pods: usize,
    /// How many call at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32], value_parser = workers, value_name = "N,...")]
    pub workers: Vec<usize>,
    /// Rounds with one worker; with more there are a sixteenth [default: 200, or 30 with --quick]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// How many calls of a verb a round with several workers has [default: 64, and 4 a worker]
    #[arg(long, value_name = "N")]
    pub calls: Option<usize>,
    /// The order of the turns is drawn from this
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Where the results go
    #[arg(long, default_value = "target/bench", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Writes the result into the marked part of README.md too
    #[arg(long)]
    pub readme: bool,
    /// Measures nothing: reads FOLDER/bench.json, prints it, and draws
    #[arg(long)]
    pub show: bool,
}

/// How much is measured with so many workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// How many rounds.
    pub rounds: usize,
    /// How many rounds go before them, whose results are thrown away: caches fill, and a node gets
    /// its first block.
    pub warm_up: usize,
    /// How many calls of each verb each worker makes in a round.
    pub each: usize,
    /// Nothing begins a further round after so long: on a slow machine there are fewer.
    pub limit: Duration,
}

impl Options {
    /// How much is measured with so many workers.
    pub fn effort(&self, workers: usize) -> Effort {
        let rounds = self.rounds.unwrap_or(if self.quick { 30 } else { 200 });
        let whole = Duration::from_secs(if self.quick { 45 } else { 600 });
        let limit = whole / u32::try_from(self.workers.len().max(1)).unwrap_or(1);
        if workers == 1 {
            return Effort { rounds, warm_up: 2, each: 1, limit };
        }
        Effort {
            // A round has many calls.
            rounds: rounds.div_ceil(16).max(2),
            warm_up: 1,
            // The start and the end of a round are to weigh little.
            each: self.calls.unwrap_or(64).div_ceil(workers).max(if self.calls.is_some() {
                1
            } else {
                4
            }),
            limit,
        }
    }

    /// The most calls of a round: so many namespaces are needed.
    pub fn most_calls(&self) -> usize {
        let calls = self.workers.iter().map(|&workers| workers * self.effort(workers).each);
        calls.max().unwrap_or(1)
    }
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(workers @ 1..=256) => Ok(workers),
        _ => Err("give a number from 1 to 256".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effort_follows_from_the_options() {
        let of = |line: &str| Options::try_parse_from(line.split(' '));
        let plain = of("bench").unwrap();
        assert_eq!((plain.effort(1).rounds, plain.effort(1).each), (200, 1));
        assert_eq!((plain.effort(8).each, plain.effort(32).each), (8, 4));
        assert_eq!(plain.most_calls(), 128);
        let small = of("bench --rounds 2 --calls 2 --workers 1,2").unwrap();
        assert_eq!((small.effort(2).rounds, small.effort(2).each, small.most_calls()), (2, 1, 2));
        assert!(of("bench --workers 0").is_err());
        assert!(of("bench --quick").unwrap().effort(1).limit < plain.effort(1).limit);
    }
}
