//! What can be asked of the bench.

use std::path::PathBuf;

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
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32], value_name = "N,...")]
    pub workers: Vec<usize>,
    /// Rounds with one worker; with more there are fewer [default: 200, or 30 with --quick]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// How many calls a round with several workers has at least [default: 64]
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

impl Options {
    /// Rounds with so many workers, and how many calls each of them makes of each verb in a round.
    pub fn rounds(&self, workers: usize) -> (usize, usize) {
        let one = self.rounds.unwrap_or(if self.quick { 30 } else { 200 });
        match workers {
            1 => (one, 1),
            // A round is 64 calls or more, so that the start and the end of it weigh little.
            _ => {
                (one.div_ceil(if self.quick { 10 } else { 16 }), 64_usize.div_ceil(workers).max(4))
            }
        }
    }

    /// The most calls of a round: so many namespaces are needed.
    pub fn most_calls(&self) -> usize {
        let calls = self.workers.iter().map(|&workers| workers * self.rounds(workers).1);
        calls.max().unwrap_or(1)
    }
}
