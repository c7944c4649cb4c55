//! Where the log goes: stderr always, and a file when one is configured
//! (`reference/cni-plugin.md` section 8). stdout belongs to the result.

mod line;
mod rotation;
pub mod steps;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Deserialize;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use line::Line;
use rotation::Rotation;
use steps::Steps;

const OWN_CRATES: [&str; 5] = ["calico", "cni_ipam", "libcalico", "netutils", "cni"];

/// The log's fields of the network configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LogConf {
    /// `debug`, `info` or `error`, in any case; anything else is `info`.
    #[serde(rename = "log_level")]
    pub log_level: String,
    /// A file that gets the log too.
    #[serde(rename = "log_file_path")]
    pub log_file_path: String,
    /// Size in MB at which the file is rotated; 0: 100.
    #[serde(rename = "log_file_max_size")]
    pub log_file_max_size: i64,
    /// Days that rotated files are kept; 0: 30.
    #[serde(rename = "log_file_max_age")]
    pub log_file_max_age: i64,
    /// Rotated files that are kept; 0: 10.
    #[serde(rename = "log_file_max_count")]
    pub log_file_max_count: i64,
}

/// Starts logging as the configuration says, before anything else of it is looked at, so that what
/// is wrong with the rest is in the log too. `component` stands on every line (`cni-plugin`, `ipam`).
///
/// A log file that can't be opened is no reason to fail. Fields that can't be read are: the log goes
/// to stderr then.
pub fn start(config: &cni::NetworkConfig, component: &'static str) -> Result<(), cni::Error> {
    let conf = config.parse::<LogConf>();
    begin(conf.as_ref().unwrap_or(&LogConf::default()), component);
    conf.map(drop)
}

fn begin(conf: &LogConf, component: &'static str) {
    let level = match conf.log_level.to_lowercase().as_str() {
        "debug" => Level::DEBUG,
        "error" => Level::ERROR,
        _ => Level::INFO,
    };
    let (file, problem) = match conf.log_file_path.as_str() {
        "" => (None, None),
        path => match Rotation::of(conf).open(Path::new(path)) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(format!("log file {path} can't be used: {error}"))),
        },
    };
    // Only our own crates: a connection's frames are of no use to an operator.
    let ours = || Targets::from_iter(OWN_CRATES.map(|target| (target, level)));
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Line { component })
        .with_writer(Sink { file })
        .with_filter(ours());
    let subscriber = tracing_subscriber::registry().with(lines).with(Steps.with_filter(ours()));
    // A second start, as a test makes one, keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
    if let Some(problem) = problem {
        tracing::warn!("{problem}");
    }
}

/// Writes each line to stderr and to the file, with one call each, so that lines of several
/// processes don't mix.
struct Sink {
    file: Option<File>,
}

struct LineWriter<'a> {
    file: Option<&'a File>,
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { file: self.file.as_ref() }
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = line::on_one_line(line);
        // A full disk or a closed stderr is no reason to fail.
        let _ = io::stderr().write_all(&text);
        if let Some(mut file) = self.file {
            let _ = file.write_all(&text);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
