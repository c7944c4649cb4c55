//! Where the log goes: stderr always, and a file when one is configured
//! (`reference/cni-plugin.md` section 8). stdout belongs to the result.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use time::OffsetDateTime;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::conf::NetConf;

const OWN_CRATES: [&str; 5] = ["calico", "cni_ipam", "libcalico", "netutils", "cni"];

/// Starts logging as the configuration says. `component` stands on every line (`cni-plugin`,
/// `ipam`). Called once a process; a log file that can't be opened is no reason to fail.
pub fn start(conf: &NetConf, component: &'static str) {
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
    let ours = OWN_CRATES.map(|target| (target, level));
    let layer = tracing_subscriber::fmt::layer()
        .event_format(Line { component })
        .with_writer(Sink { file })
        .with_filter(Targets::from_iter(ours));
    let subscriber = tracing_subscriber::registry().with(layer);
    // A second start, as a test makes one, keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
    if let Some(problem) = problem {
        tracing::warn!("{problem}");
    }
}

/// Upstream's line: time, level, process, component, place, message, fields. The time is UTC.
struct Line {
    component: &'static str,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = OffsetDateTime::now_utc();
        let metadata = event.metadata();
        let place = metadata.file().and_then(|file| file.rsplit('/').next()).unwrap_or("?");
        write!(
            line,
            "{} {:02}:{:02}:{:02}.{:03} [{}][{}] {}/{place} {}: ",
            now.date(),
            now.hour(),
            now.minute(),
            now.second(),
            now.millisecond(),
            metadata.level(),
            std::process::id(),
            self.component,
            metadata.line().unwrap_or(0),
        )?;
        context.field_format().format_fields(line.by_ref(), event)?;
        writeln!(line)
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
        // A full disk or a closed stderr is no reason to fail.
        let _ = io::stderr().write_all(line);
        if let Some(mut file) = self.file {
            let _ = file.write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// When a log file is set aside, and how long those are kept.
struct Rotation {
    max_bytes: u64,
    max_age: Duration,
    max_count: u32,
}

impl Rotation {
    fn of(conf: &NetConf) -> Rotation {
        let or = |value: i64, default: u64| match u64::try_from(value) {
            Ok(0) | Err(_) => default,
            Ok(value) => value,
        };
        Rotation {
            max_bytes: or(conf.log_file_max_size, 100).saturating_mul(1 << 20),
            max_age: Duration::from_secs(or(conf.log_file_max_age, 30).saturating_mul(86_400)),
            max_count: u32::try_from(or(conf.log_file_max_count, 10)).unwrap_or(10),
        }
    }

    /// Opens the file for appending, after setting a full one aside as `<path>.1`, that as
    /// `<path>.2` and so on. Of several processes that find it full, one does so.
    fn open(&self, path: &Path) -> io::Result<File> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        if file.metadata()?.len() < self.max_bytes {
            return Ok(file);
        }
        let Ok(locked) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            return append(path);
        };
        // Still the file at the path? Else somebody was faster.
        let same = fs::metadata(path)
            .is_ok_and(|there| locked.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
        if same {
            self.set_aside(path)?;
        }
        append(path)
    }

    fn set_aside(&self, path: &Path) -> io::Result<()> {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
        let _ = fs::remove_file(numbered(self.max_count));
        for n in (1..self.max_count).rev() {
            let _ = fs::rename(numbered(n), numbered(n + 1));
        }
        fs::rename(path, numbered(1))?;
        let oldest = SystemTime::now().checked_sub(self.max_age);
        for n in 2..=self.max_count {
            let modified = fs::metadata(numbered(n)).and_then(|metadata| metadata.modified()).ok();
            if let (Some(modified), Some(oldest)) = (modified, oldest)
                && modified < oldest
            {
                let _ = fs::remove_file(numbered(n));
            }
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_set_aside_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/cni.log");
        let rotation =
            Rotation { max_bytes: 10, max_age: Duration::from_secs(86_400), max_count: 2 };
        for round in 0..4 {
            let mut file = rotation.open(&path).unwrap();
            file.write_all(format!("round {round} is long\n").as_bytes()).unwrap();
        }
        let text = |suffix: &str| {
            fs::read_to_string(format!("{}{suffix}", path.display())).unwrap_or_default()
        };
        assert_eq!(text(""), "round 3 is long\n");
        assert_eq!(text(".1"), "round 2 is long\n");
        assert_eq!(text(".2"), "round 1 is long\n");
        assert_eq!(text(".3"), "");
    }
}
