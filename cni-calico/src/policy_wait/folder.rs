//! A folder that is watched, also before it is there.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;

/// A watch on a folder, or on the nearest one above it that exists.
pub(super) struct FolderWatch {
    /// The queue of inotify: like a pipe, it is readable when there is something in it.
    events: pipe::Receiver,
    /// The folder itself, if it is what is watched.
    inode: Option<(u64, u64)>,
}

impl FolderWatch {
    /// Goes on with a former watch, if the folder is still what it is on.
    pub(super) fn of(former: Option<FolderWatch>, folder: &Path) -> io::Result<FolderWatch> {
        match former {
            Some(former) if former.inode.is_some() && former.inode == inode(folder) => Ok(former),
            _ => FolderWatch::new(folder),
        }
    }

    fn new(folder: &Path) -> io::Result<FolderWatch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // Before it is watched: if another one takes its place meanwhile, the watch is made anew.
        let inode = inode(folder);
        let is_itself = watch_nearest(&inotify, folder)?;
        let events = pipe::Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))?;
        Ok(FolderWatch { events, inode: inode.filter(|_| is_itself) })
    }

    /// Returns when something has changed in the folder, or on the way to it.
    pub(super) async fn changed(&mut self) {
        // It fails only if the descriptor is none: then there is nothing to wait for.
        let _ = self.events.readable().await;
        let mut events = [0; 4096];
        while self.events.try_read(&mut events).is_ok_and(|length| length > 0) {}
    }
}

/// Watches the folder or, while it doesn't exist, the nearest one above it. Tells whether it is the
/// folder itself.
fn watch_nearest(inotify: &Inotify, folder: &Path) -> io::Result<bool> {
    let flags = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    let mut missing: Option<&Path> = None;
    let mut nearest = folder;
    loop {
        match inotify.add_watch(nearest, flags) {
            Ok(_) => match missing {
                None => return Ok(true),
                // Made before its parent was watched.
                Some(child) if child.is_dir() => (nearest, missing) = (folder, None),
                Some(_) => return Ok(false),
            },
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                missing = Some(nearest);
                nearest = nearest.parent().ok_or(Errno::ENOENT)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn inode(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|found| (found.dev(), found.ino()))
}
