//! Network namespaces: opening and checking the file that stands for one, and running code inside.
//!
//! Follows `reference/cni-plugin.md`, sections 4.1 and 10 (row 31). A thread that has entered a
//! foreign namespace is never handed back to anybody: [`Netns::run`] uses a thread that ends, and
//! the way back from the short visits of [`Netlink`](crate::Netlink) is guarded by a drop that
//! aborts the process sooner than to go on in the wrong place.

use std::fs::{File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// The calling thread's own network namespace.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept alive by an open file.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    id: NetnsId,
}

/// What tells one namespace from another, whatever path leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetnsId {
    /// Device number of the namespace file system.
    pub device: u64,
    /// Inode number, as in `net:[4026531840]`.
    pub inode: u64,
}

/// Why a network namespace could not be opened, entered or worked in.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Nothing is there; of a container that is being deleted, this is no fault.
    #[error("network namespace {} does not exist", path.display())]
    NotFound {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something is there, but not a network namespace: another file, or a namespace of another type.
    #[error("{} is not a network namespace ({found}); the path must lead to one, such as /run/netns/NAME or /proc/PID/ns/net", path.display())]
    NotANamespace {
        /// The path that was given.
        path: PathBuf,
        /// What it leads to.
        found: &'static str,
    },
    /// The system refused.
    #[error("cannot {operation} network namespace {}: {source}", path.display())]
    Io {
        /// `open`, `inspect`, `enter`, …
        operation: &'static str,
        /// The path of the namespace.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The code that was run inside panicked.
    #[error("panic while working in network namespace {}: {message}", path.display())]
    Panicked {
        /// The path of the namespace.
        path: PathBuf,
        /// What the panic said.
        message: String,
    },
}

impl Netns {
    /// Opens the namespace that `path` leads to, and makes sure that it is one.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        // Never wait for the other side of a pipe, never become the owner of a terminal.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(
            |source| match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    NetnsError::NotFound { path: path.to_owned() }
                }
                _ => failed("open", path, source),
            },
        )?;
        let not_a_namespace = |found| NetnsError::NotANamespace { path: path.to_owned(), found };

        let metadata = file.metadata().map_err(|source| failed("inspect", path, source))?;
        if metadata.is_dir() {
            return Err(not_a_namespace("a directory"));
        }
        let filesystem = fstatfs(&file).map_err(|errno| failed("inspect", path, errno.into()))?;
        if filesystem.filesystem_type() != NSFS_MAGIC {
            return Err(not_a_namespace("a file outside of the namespace file system"));
        }
        let kind = kind::of(file.as_fd()).map_err(|errno| failed("inspect", path, errno.into()))?;
        if kind != CloneFlags::CLONE_NEWNET.bits() {
            return Err(not_a_namespace("a namespace of another type"));
        }
        let id = NetnsId { device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { file, path: path.to_owned(), id })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open(Path::new(CURRENT))
    }

    /// Another handle of the same namespace.
    pub fn try_clone(&self) -> Result<Self, NetnsError> {
        let file = self.file.try_clone().map_err(|source| failed("open", &self.path, source))?;
        Ok(Self { file, path: self.path.clone(), id: self.id })
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the namespace: equal for all paths that lead to it.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Whether both are one and the same namespace.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Runs `work` inside the namespace, on a thread of its own that ends with it, and waits.
    ///
    /// A panic of `work` comes back as an error (where panics unwind).
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || self.enter_for_good().map(|()| work()))
                .map_err(|source| failed("start a thread for", &self.path, source))?;
            worker.join().unwrap_or_else(|panic| {
                Err(NetnsError::Panicked { path: self.path.clone(), message: message_of(&*panic) })
            })
        })
    }

    /// Runs `work` inside the namespace, on the calling thread, which comes back afterwards: a
    /// tenth of what [`run`](Self::run) costs, for work that only reads and writes files.
    pub fn visited<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
        let _visit = self.visit()?;
        Ok(work())
    }

    /// Moves the calling thread into the namespace. Only for threads that end soon after.
    pub(crate) fn enter_for_good(&self) -> Result<(), NetnsError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| failed("enter", &self.path, errno.into()))
    }

    /// Moves the calling thread into the namespace until the visit is dropped.
    pub(crate) fn visit(&self) -> Result<Visit, NetnsError> {
        let home = Self::current()?;
        if self.is_same(&home) {
            return Ok(Visit { home: None, _this_thread_only: PhantomData });
        }
        self.enter_for_good()?;
        Ok(Visit { home: Some(home), _this_thread_only: PhantomData })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The stay of a thread in a foreign namespace; dropping it brings the thread home.
pub(crate) struct Visit {
    home: Option<Netns>,
    /// Namespaces belong to a thread, so a visit must not be sent to another one.
    _this_thread_only: PhantomData<*const ()>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(home) = &self.home
            && let Err(error) = home.enter_for_good()
        {
            // Whatever this thread did next, it would do to the wrong namespace.
            tracing::error!(%error, "lost in a foreign network namespace, aborting");
            std::process::abort();
        }
    }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> NetnsError {
    NetnsError::Io { operation, path: path.to_owned(), source }
}

/// The text that a panic carried.
fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

/// The one question about a namespace that no safe interface answers.
#[allow(unsafe_code)]
mod kind {
    use std::os::fd::{AsRawFd, BorrowedFd};

    mod request {
        // `NS_GET_NSTYPE` of <linux/nsfs.h>: `_IO(0xb7, 0x3)`.
        nix::ioctl_none!(ns_get_nstype, 0xb7, 0x3);
    }

    /// The `CLONE_NEW…` flag of the namespace's type.
    pub(super) fn of(namespace: BorrowedFd<'_>) -> nix::Result<i32> {
        // SAFETY: the descriptor is open for the whole call, as its borrow proves; the request takes
        // no argument, touches no memory of ours, and any file that is no namespace answers ENOTTY.
        unsafe { request::ns_get_nstype(namespace.as_raw_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_namespace_is_itself() {
        let one = Netns::current().unwrap();
        let other = Netns::open(Path::new("/proc/self/ns/net")).unwrap();
        assert!(one.is_same(&other));
        assert!(one.is_same(&one.try_clone().unwrap()));
    }

    #[test]
    fn a_missing_path_is_not_found() {
        let error = Netns::open(Path::new("/nonexistent/netns")).unwrap_err();
        assert!(matches!(&error, NetnsError::NotFound { .. }), "{error:?}");
        assert_eq!(error.to_string(), "network namespace /nonexistent/netns does not exist");
    }

    #[test]
    fn other_things_are_not_namespaces() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [
            folder.path(),
            &file,
            &pipe,
            Path::new("/dev/null"),
            Path::new("/proc/self/status"),
            Path::new("/proc/self/ns/mnt"),
            Path::new("/proc/self/ns/user"),
        ] {
            let error = Netns::open(path).unwrap_err();
            assert!(matches!(&error, NetnsError::NotANamespace { .. }), "{error:?}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_panic_inside_is_an_error() {
        let here = Netns::current().unwrap();
        let error = here.run(|| panic!("no {}", "luck")).unwrap_err();
        assert!(
            matches!(&error, NetnsError::Panicked { message, .. } if message == "no luck"),
            "{error:?}"
        );
    }
}
