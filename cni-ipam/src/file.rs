//! Files that a configuration names. What stands there may be anything, a pipe that nobody writes into,
//! too: none of it may hold a verb up, which no deadline would end.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// The most bytes of a file that holds a name or a number.
const TEXT_MAX: u64 = 64 << 10;

/// Makes opening a pipe an error instead of a wait for its other side.
pub trait NoWait {
    /// The same, without waiting.
    fn no_wait(&mut self) -> &mut Self;
}

impl NoWait for OpenOptions {
    fn no_wait(&mut self) -> &mut OpenOptions {
        self.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
    }
}

/// The text of a small file.
pub fn read_text(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).no_wait().open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    }
    let mut text = String::new();
    file.take(TEXT_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn pipe(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    #[test]
    fn nothing_holds_a_reader_or_a_writer_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = pipe(&folder);
        for odd in [&pipe, Path::new("/dev/zero"), folder.path()] {
            assert!(read_text(odd).is_err(), "{}", odd.display());
        }
        let writer = OpenOptions::new().append(true).create(true).no_wait().open(&pipe);
        assert!(writer.is_err());
        fs::write(folder.path().join("name"), "node-1\n").unwrap();
        assert_eq!(read_text(&folder.path().join("name")).unwrap(), "node-1\n");
    }
}
