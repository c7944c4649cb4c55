//! A netlink request that is sent by a process of its own, which nobody waits for.
//!
//! The sender is a grandchild: its parent ends at once and is waited for, so that whoever adopts
//! orphans also buries it. It keeps two descriptors, the socket and the pipe for the kernel's reply,
//! and none of those that others read to their end.
#![allow(unsafe_code, reason = "fork, and system calls alone from there on")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, pipe2};
use rtnetlink::sys::Socket;
use tokio::net::unix::pipe;

/// The reply holds the request and a text of the kernel's. A pipe takes this much in one piece.
const REPLY_SIZE: usize = libc::PIPE_BUF;

/// Sends a request that asks for an acknowledgement. The pipe ends with that acknowledgement, or
/// with nothing, when the sender could not do its work.
pub(super) fn send(socket: &Socket, request: &[u8]) -> io::Result<pipe::Receiver> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::F_SETFL(OFlag::O_NONBLOCK))?;
    let reply = pipe::Receiver::from_owned_fd(ours)?;
    let mut bytes = [0; REPLY_SIZE];
    // SAFETY: from the fork on, the children make system calls only, on what was made before.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            Ok(reply)
        }
        ForkResult::Child => unsafe {
            if let Ok(ForkResult::Child) = fork() {
                work(socket.as_raw_fd(), &theirs, request, &mut bytes);
            }
            libc::_exit(0)
        },
    }
}

/// The sender's work.
unsafe fn work(socket: RawFd, reply: &OwnedFd, request: &[u8], bytes: &mut [u8]) {
    const SOCKET: RawFd = 0;
    const REPLY: RawFd = 1;
    // SAFETY: each call gets descriptors of our own, and slices with their lengths.
    unsafe {
        // Signals to the group of the process that started us are not for us any more.
        libc::setsid();
        if libc::dup2(socket, SOCKET) < 0 || libc::dup2(reply.as_raw_fd(), REPLY) < 0 {
            return;
        }
        close_from(REPLY + 1);
        let sent = libc::send(SOCKET, request.as_ptr().cast(), request.len(), 0);
        if sent < 0 {
            return;
        }
        let received = loop {
            let received = libc::recv(SOCKET, bytes.as_mut_ptr().cast(), bytes.len(), 0);
            if received >= 0 || *libc::__errno_location() != libc::EINTR {
                break received;
            }
        };
        if let Ok(length @ 1..) = usize::try_from(received) {
            libc::write(REPLY, bytes.as_ptr().cast(), length.min(REPLY_SIZE));
        }
    }
}

/// Closes this descriptor and all above it.
unsafe fn close_from(first: RawFd) {
    // SAFETY: nothing is used afterwards that would be closed.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) == 0 {
            return;
        }
        // Before Linux 5.9.
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_NOFILE, ptr::addr_of_mut!(limit));
        for descriptor in first..RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX).min(65536) {
            libc::close(descriptor);
        }
    }
}
