//! User who called sudo: its threads have this user's rights alone.

use anyhow::{Context, Result, anyhow};
use edge_docker_policy::refusal::refuse;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// User and group of the caller.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    user: Uid,
    group: Gid,
}

impl Caller {
    /// Returns the user who called sudo. Refuses root, for whom a file could be any part
    /// of the device: units of `/data/services` are root, too.
    pub(super) fn of_sudo() -> Result<Self> {
        let number = |name| std::env::var(name).ok()?.parse().ok().filter(|n| *n != 0);
        match (number("SUDO_UID"), number("SUDO_GID")) {
            (Some(user), Some(group)) => Ok(Self {
                user: Uid::from_raw(user),
                group: Gid::from_raw(group),
            }),
            _ => Err(refuse(
                "cp with a file is refused to root: call it by sudo as another user, or use `-`, \
                 a tar archive on a standard stream",
            )),
        }
    }

    /// Gives this thread the user and group of the caller for the rest of its life. The
    /// capabilities end with the user; other threads keep theirs.
    pub(super) fn enter(&self) -> Result<()> {
        set_thread_groups(&[self.group])
            .and_then(|()| set_thread_res_gid(self.group, self.group, self.group))
            .and_then(|()| set_thread_res_uid(self.user, self.user, self.user))
            .context("taking the rights of the caller")
    }

    /// Runs `work` in a thread with the rights of the caller, and waits for it.
    pub(super) fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let thread = std::thread::spawn(move || self.enter().map(|()| work()));
        thread.join().map_err(|_| anyhow!("a thread panicked"))?
    }
}
