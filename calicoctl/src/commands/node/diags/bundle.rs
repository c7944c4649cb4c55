//! The bundle: a tar.gz that only root may read, into which texts go without their secrets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::redact::Redactor;

/// The folder in the bundle.
const FOLDER: &str = "diagnostics";
/// The most that is taken of a file: its end.
const MOST: u64 = 16 << 20;
/// How deep a folder of logs is followed, and how many files are taken.
const DEPTH: usize = 4;
const FILES: usize = 500;

/// A bundle that is being written.
pub struct Bundle {
    archive: Builder<GzEncoder<File>>,
    redactor: Redactor,
    modified: u64,
}

impl Bundle {
    /// Begins a bundle in a new file.
    pub fn create(path: &Path, redactor: Redactor, modified: u64) -> io::Result<Bundle> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let archive = Builder::new(GzEncoder::new(file, Compression::default()));
        Ok(Bundle { archive, redactor, modified })
    }

    /// Adds a text under this name.
    pub fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        let text = self.redactor.clean(text);
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.modified);
        self.archive.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())
    }

    /// Adds the end of a file; answers why not, where it can't be read.
    pub fn add_file(&mut self, name: &str, path: &Path) -> io::Result<Option<String>> {
        match tail(path) {
            Ok(Some(text)) => self.add(name, &text).map(|()| None),
            Ok(None) => Ok(Some("it is no text".to_owned())),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    /// Adds the texts in a folder and those below it. Links are not followed.
    pub fn add_folder(&mut self, name: &str, folder: &Path) -> io::Result<Vec<String>> {
        let mut skipped = Vec::new();
        let mut files = 0;
        let mut folders = vec![(folder.to_owned(), name.to_owned(), 0)];
        while let Some((folder, name, depth)) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    skipped.push(format!("{}: {error}", folder.display()));
                    continue;
                }
            };
            for entry in entries.flatten() {
                let inner = format!("{name}/{}", entry.file_name().display());
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && depth < DEPTH => {
                        folders.push((path, inner, depth + 1));
                    }
                    Ok(kind) if kind.is_file() && files < FILES => {
                        files += 1;
                        let reason = self.add_file(&inner, &path)?;
                        skipped.extend(reason.map(|why| format!("{}: {why}", path.display())));
                    }
                    _ => skipped.push(format!("{}: no file, or one too many", path.display())),
                }
            }
        }
        Ok(skipped)
    }

    /// Ends it; when this returns it is on disk.
    pub fn finish(self) -> io::Result<()> {
        self.archive.into_inner()?.finish()?.sync_all()
    }
}

/// The end of a file, if it is a text. It is cut where a line begins.
pub fn tail(path: &Path) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    if bytes.contains(&0) || bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(None);
    }
    if length > MOST {
        let cut = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.drain(..cut);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_text_is_taken_and_no_binary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let line = "0123456789abcde\n";
        fs::write(&path, line.repeat((MOST as usize / line.len()) + 10)).unwrap();
        let text = tail(&path).unwrap().unwrap();
        assert!(text.starts_with("0123") && text.len() as u64 <= MOST, "{}", text.len());
        fs::write(&path, [1, 0, 2]).unwrap();
        assert_eq!(tail(&path).unwrap(), None);
        assert!(tail(folder.path()).is_err());
    }
}
