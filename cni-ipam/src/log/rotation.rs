//! The log file, to which many short processes append, and which one of them sets aside when it is
//! full.
//!
//! Nothing is lost: a line is one append, and who has an older file open goes on writing to it
//! wherever it is by then. Only one process at a time moves files: the one that has the lock of the
//! folder. The others don't wait, and append.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::LogConf;
use crate::file::NoWait;

const DAY: u64 = 86_400;

/// When a log file is set aside, and how long those are kept.
pub(super) struct Rotation {
    max_bytes: u64,
    max_age: Duration,
    max_count: u64,
}

impl Rotation {
    pub(super) fn of(conf: &LogConf) -> Rotation {
        let or = |value: i64, default: u64| match u64::try_from(value) {
            Ok(0) | Err(_) => default,
            Ok(value) => value,
        };
        Rotation {
            max_bytes: or(conf.log_file_max_size, 100).saturating_mul(1 << 20),
            max_age: Duration::from_secs(or(conf.log_file_max_age, 30).saturating_mul(DAY)),
            max_count: or(conf.log_file_max_count, 10),
        }
    }

    /// Opens the file for appending, after setting a full one aside as `<path>.1`, that as
    /// `<path>.2` and so on.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        make(folder)?;
        let file = append(path)?;
        if file.metadata()?.len() < self.max_bytes {
            return Ok(file);
        }
        self.rotate(path, folder)?;
        append(path)
    }

    /// Sets the file aside that was found full, unless somebody else does or did.
    fn rotate(&self, path: &Path, folder: &Path) -> io::Result<()> {
        let Ok(_lock) = Flock::lock(File::open(folder)?, FlockArg::LockExclusiveNonblock) else {
            return Ok(());
        };
        if fs::metadata(path).is_ok_and(|there| there.len() >= self.max_bytes) {
            self.set_aside(path)?;
            self.forget(path)?;
        }
        Ok(())
    }

    fn set_aside(&self, path: &Path) -> io::Result<()> {
        let mut last = 1;
        while last < self.max_count && numbered(path, last).exists() {
            last += 1;
        }
        for n in (1..last).rev() {
            fs::rename(numbered(path, n), numbered(path, n + 1))?;
        }
        fs::rename(path, numbered(path, 1))
    }

    /// Removes what is older than it may be, and what a former, larger number of files has left.
    fn forget(&self, path: &Path) -> io::Result<()> {
        let oldest = SystemTime::now().checked_sub(self.max_age).unwrap_or(SystemTime::UNIX_EPOCH);
        for (n, file) in set_aside(path)? {
            let is_old = || {
                let modified = fs::metadata(&file).and_then(|metadata| metadata.modified());
                modified.is_ok_and(|modified| modified < oldest)
            };
            if n > self.max_count || is_old() {
                fs::remove_file(&file)?;
            }
        }
        Ok(())
    }
}

/// The files that were set aside, and their numbers.
fn set_aside(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let prefix = numbered_name(path, "");
    let folder =
        fs::read_dir(path.parent().filter(|up| *up != Path::new("")).unwrap_or(Path::new(".")))?;
    let number = |file: &Path| {
        let name = file.file_name()?.to_str()?;
        name.strip_prefix(prefix.to_str()?)?.parse().ok()
    };
    let files = folder.flatten().map(|entry| entry.path());
    Ok(files.filter_map(|file| Some((number(&file)?, file))).collect())
}

fn numbered(path: &Path, n: u64) -> PathBuf {
    path.with_file_name(numbered_name(path, &n.to_string()))
}

fn numbered_name(path: &Path, suffix: &str) -> OsString {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    name
}

/// Makes the folder of the log, for root alone as its files are; those above it are not ours alone.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).no_wait().open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn rotation(max_count: u64) -> Rotation {
        Rotation { max_bytes: 10, max_age: Duration::from_secs(DAY), max_count }
    }

    /// The files of a log beside the present one: numbers and contents, in order.
    fn aside(path: &Path) -> Vec<(u64, String)> {
        let mut files: Vec<(u64, String)> = set_aside(path)
            .unwrap()
            .into_iter()
            .map(|(n, file)| (n, fs::read_to_string(file).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn write(rotation: &Rotation, path: &Path, text: &str) {
        let mut file = rotation.open(path).unwrap();
        file.write_all(format!("{text} is long\n").as_bytes()).unwrap();
    }

    #[test]
    fn a_full_file_is_set_aside_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/cni.log");
        for round in ["one", "two", "three", "four"] {
            write(&rotation(2), &path, round);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "four is long\n");
        let kept = [(1, "three is long\n".to_owned()), (2, "two is long\n".to_owned())];
        assert_eq!(aside(&path), kept);
        // The folder above is everybody's.
        for (below, mode) in [("deep", 0o755), ("deep/er", 0o700), ("deep/er/cni.log", 0o600)] {
            let mode_of = fs::metadata(folder.path().join(below)).unwrap().permissions().mode();
            assert_eq!(mode_of & 0o777, mode, "{below}");
        }
    }

    #[test]
    fn a_smaller_number_and_age_remove_what_was_kept_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cni.log");
        for round in ["one", "two", "three", "four", "five"] {
            write(&rotation(9), &path, round);
        }
        assert_eq!(aside(&path).len(), 4);
        fs::write(folder.path().join("cni.log.gz"), "another's").unwrap();
        let old = SystemTime::now() - Duration::from_secs(2 * DAY);
        File::options().append(true).open(numbered(&path, 1)).unwrap().set_modified(old).unwrap();
        write(&rotation(3), &path, "six");
        let kept: Vec<u64> = aside(&path).into_iter().map(|(n, _)| n).collect();
        // What is now the second is too old, and there are no more than three.
        assert_eq!(kept, [1, 3]);
        assert!(folder.path().join("cni.log.gz").exists());
    }

    #[test]
    fn who_has_an_older_file_open_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cni.log");
        let mut slow = rotation(5).open(&path).unwrap();
        write(&rotation(5), &path, "first");
        write(&rotation(5), &path, "second");
        slow.write_all(b"late\n").unwrap();
        assert_eq!(aside(&path), [(1, "first is long\nlate\n".to_owned())]);
    }

    #[test]
    fn of_several_that_find_it_full_one_sets_it_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cni.log");
        write(&rotation(5), &path, "first");
        for next in ["", "a\n"] {
            rotation(5).rotate(&path, folder.path()).unwrap();
            fs::write(&path, next).unwrap();
        }
        assert_eq!(aside(&path), [(1, "first is long\n".to_owned())]);
    }

    #[test]
    fn nobody_waits_for_the_one_who_rotates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cni.log");
        write(&rotation(5), &path, "first");
        let lock = Flock::lock(File::open(folder.path()).unwrap(), FlockArg::LockExclusive);
        write(&rotation(5), &path, "second");
        assert_eq!(aside(&path), []);
        drop(lock);
        write(&rotation(5), &path, "third");
        assert_eq!(fs::read_to_string(&path).unwrap(), "third is long\n");
    }
}
