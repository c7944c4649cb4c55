//! Watching the file. A commit ends by touching the file's times, and the kernel tells all who
//! watch it. The write itself would come too early: what is in the log counts only once the shared
//! index says so.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use tokio::net::unix::pipe;

use super::{LocalStore, Place, database};
use crate::store::{Event, Prefix, Revision, StoreError, StoreErrorKind, Watch};

/// How long to sleep at most without a look: a process killed between its commit and its touch
/// wakes nobody.
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// Tells those who watch the file that something was committed.
pub(super) fn wake(path: &Path) {
    let now = TimeSpec::UTIME_NOW;
    // Best effort: without it, watches look by themselves a little later.
    let _ = utimensat(AT_FDCWD, path, &now, &now, UtimensatFlags::FollowSymlink);
}

/// A running watch.
pub(super) struct LocalWatch {
    store: LocalStore,
    prefix: Prefix,
    /// Changes up to this revision are handed out or pending.
    after: Revision,
    pending: VecDeque<Event>,
    /// The queue of inotify: like a pipe, it is readable when there is something in it.
    touched: pipe::Receiver,
}

impl LocalWatch {
    /// Begins a watch. The file must be there before it can be watched, so it is opened first.
    pub(super) async fn new(
        store: LocalStore,
        prefix: Prefix,
        after: Revision,
    ) -> Result<LocalWatch, StoreError> {
        let deadline = Instant::now() + LOOK_LIMIT;
        store.run(deadline, Place::Aside, |_, _| Ok(())).await?;
        let touched = watch_file(&store.path)
            .map_err(|error| store.error(StoreErrorKind::Unavailable, &no_watch(&error)))?;
        Ok(LocalWatch { store, prefix, after, pending: VecDeque::new(), touched })
    }

    /// Waits until the file is touched, or it is time to look anyhow.
    async fn touched(&mut self) {
        let _ = tokio::time::timeout(AT_LEAST_EVERY, self.touched.readable()).await;
        // Emptied before the look: what comes after is announced anew.
        let mut events = [0; 4096];
        while self.touched.try_read(&mut events).is_ok_and(|length| length > 0) {}
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let (prefix, after) = (self.prefix.clone(), self.after);
        let deadline = Instant::now() + LOOK_LIMIT;
        let work = move |connection: &mut _, _: &_| database::changes(connection, &prefix, after);
        let (until, events) = self.store.run(deadline, Place::Aside, work).await?;
        self.after = until;
        self.pending.extend(events);
        Ok(())
    }
}

#[async_trait]
impl Watch for LocalWatch {
    async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            self.look().await?;
            if self.pending.is_empty() {
                self.touched().await;
            }
        }
    }
}

fn watch_file(path: &Path) -> io::Result<pipe::Receiver> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(path, AddWatchFlags::IN_ATTRIB)?;
    pipe::Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))
}

fn no_watch(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE | Errno::ENOSPC) => {
            format!("can't be watched: {error}; raise fs.inotify.max_user_instances or _watches")
        }
        _ => format!("can't be watched: {error}"),
    }
}
