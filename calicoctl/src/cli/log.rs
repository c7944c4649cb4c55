//! The log: lines on standard error, from a level on.
//!
//! Upstream's default is `panic`: nothing. Ours is `warn`, since an object that can't be read and is
//! left out of a list must not go unnoticed.

use anyhow::bail;
use tracing::level_filters::LevelFilter;

use super::Global;

impl Global {
    /// Starts the log at the level that was asked for.
    pub fn start_log(&self) -> anyhow::Result<()> {
        let level = match self.log_level.as_str() {
            // What makes a program of ours panic or give up isn't a line of its log.
            "panic" | "fatal" => LevelFilter::OFF,
            "error" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            other => bail!(
                "unknown log level: {other}, expected one of: panic, fatal, error, warn, info, debug"
            ),
        };
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            // That a line can't be written is told on standard error, by a panic where that is closed.
            .log_internal_errors(false)
            .with_target(false)
            .without_time()
            .with_ansi(false)
            .init();
        Ok(())
    }
}
