//! Damaged input for the tests of every parser that sees what others wrote.
//!
//! A target is a test that hands a parser the seeds (good input: golden files, mostly), the target's
//! corpus (`corpus/<target>/`), and then, for some seconds, seeds with random damage: to their bytes,
//! and to the structure of their JSON. The parser may refuse; it may not panic, nor take more time
//! or memory than an input of that size is worth, and it holds whatever else the test asserts.
//!
//! What fails is made smaller, and written to the corpus: commit it with the repair.
//! `CALICO_RS_FUZZ_SECONDS` says how long each target may run, with damage that nobody has seen
//! before; if nothing is said, it is two seconds of the same damage each time, so that a change is
//! not refused for what another one did. The README beside this crate tells more.
//!
//! Why not a fuzzer that is led by coverage: those that are need a nightly compiler, or a C++
//! library, and their plain mode throws random bytes, of which none gets past the first brace.

mod damage;
mod golden;

use std::fs;
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

pub use damage::damaged;
pub use golden::{documents, objects_with};

/// What the parsing of one input may cost of the processor. The slowest takes some milliseconds.
const TIME_MAX: Duration = Duration::from_secs(2);
/// What a process that parses may have of memory in all.
const MEMORY_MAX: u64 = 4 << 30;
/// How long an input that fails is made smaller: one that is slow would take hours.
const SHRINK_MS: u32 = 60_000;
/// How many inputs are tried between two looks at the clock.
const ROUND: u32 = 32;

/// Runs a target.
///
/// # Panics
/// When `parse` panics, or takes too long; the message tells where the input is.
pub fn run(target: &str, seeds: &[Vec<u8>], parse: impl Fn(&[u8])) {
    static LIMIT: Once = Once::new();
    LIMIT.call_once(limit_memory);
    let corpus = corpus(target);
    assert!(!seeds.is_empty() || !corpus.is_empty(), "{target}: no seeds");
    for input in seeds.iter().chain(&corpus) {
        timed(&parse, input).unwrap_or_else(|error| {
            panic!("{target}: {error}: {}", String::from_utf8_lossy(input))
        });
    }
    let seconds = std::env::var("CALICO_RS_FUZZ_SECONDS").ok();
    let seconds: Option<f64> = seconds.and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(seconds.unwrap_or(2.0));
    let all: Vec<Vec<u8>> = seeds.iter().cloned().chain(corpus).collect();
    let strategy = damaged(all);
    for round in 0.. {
        if Instant::now() >= end {
            break;
        }
        let config = Config {
            cases: ROUND,
            failure_persistence: None,
            max_shrink_time: SHRINK_MS,
            rng_seed: seconds.map_or(RngSeed::Fixed(round), |_| RngSeed::Random),
            ..Config::default()
        };
        let outcome = TestRunner::new(config).run(&strategy, |input| timed(&parse, &input));
        if let Err(TestError::Fail(why, input)) = outcome {
            panic!("{target}: {why}\nthe input is {}", keep(target, &input));
        }
    }
}

/// The lines of a text, each a seed.
pub fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

/// Parses one input, and looks at the clock of this thread alone: other processes don't count.
fn timed(parse: impl Fn(&[u8]), input: &[u8]) -> Result<(), TestCaseError> {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let begun = now().unwrap_or_default();
    parse(input);
    let took = now().unwrap_or_default().saturating_sub(begun);
    match took > TIME_MAX {
        true => Err(TestCaseError::fail(format!("it took {took:?}"))),
        false => Ok(()),
    }
}

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder(target)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| fs::read(path).ok()).collect()
}

fn keep(target: &str, input: &[u8]) -> String {
    // FNV-1a: a name that follows from the content.
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder(target).join(format!("found-{hash:016x}"));
    let _ = fs::create_dir_all(folder(target));
    match fs::write(&path, input) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("{input:?} ({error})"),
    }
}

/// A parser that asks for more than this ends the process instead of the machine.
fn limit_memory() {
    let hard = getrlimit(Resource::RLIMIT_AS).map_or(MEMORY_MAX, |(_, hard)| hard);
    setrlimit(Resource::RLIMIT_AS, MEMORY_MAX.min(hard), hard).expect("a limit of memory");
}
