// SPDX-License-Identifier: Apache-2.0
//! Cancelling calls that wait for a store, or limiting their time.

use std::io;
use std::os::unix::io::RawFd;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sys::{self, PollFd, RawOperation, POLLIN};
use crate::{Error, ErrorKind, Library, Result};

/// Cancels calls that wait for a store, or limits their time, all of them together. Clones are the same
/// operation; any number of calls may share it, one after another or at once.
#[derive(Clone)]
pub struct Operation {
    shared: Arc<Shared>,
}

struct Shared {
    library: Library,
    handle: *mut RawOperation,
    began: Instant,
    timeout: Option<Duration>,
}

// SAFETY: everything about an operation is thread-safe except freeing it, which the last owner does.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        unsafe { (self.library.functions.operation_free)(self.handle) }
    }
}

impl Operation {
    /// Without a timeout, only cancelling ends its calls early. The time counts from now.
    pub fn new(library: &Library, timeout: Option<Duration>) -> Result<Operation> {
        let timeout_ms = timeout.map_or(-1, sys::milliseconds);
        let (f, began) = (&library.functions, Instant::now());
        let handle = unsafe { library.made(|out, error| (f.operation_new)(timeout_ms, out, error)) }?;
        Ok(Operation { shared: Arc::new(Shared { library: library.clone(), handle, began, timeout }) })
    }

    /// Calls in progress end at once; they and all later ones fail with `ErrorKind::Cancelled`.
    pub fn cancel(&self) {
        unsafe { (self.shared.library.functions.operation_cancel)(self.shared.handle) }
    }

    /// Cancels when the guard goes out of scope: for a call on another thread that nobody waits for any
    /// more, such as that of a future that is dropped.
    pub fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop { operation: self.clone() }
    }

    /// Waits until a load's descriptor is readable; fails once the operation is over. The library's loads
    /// know nothing of operations.
    pub(crate) fn wait_for(&self, load: RawFd) -> Result<()> {
        let Shared { library, handle, began, timeout } = &*self.shared;
        let cancelled = unsafe { (library.functions.operation_fd)(*handle) };
        let mut waits = [cancelled, load].map(|fd| PollFd { fd, events: POLLIN, revents: 0 });
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            let left_ms =
                left.map_or(-1, |left| i32::try_from(sys::milliseconds(left)).unwrap_or(i32::MAX));
            // SAFETY: two structs, which are there.
            if unsafe { sys::poll(waits.as_mut_ptr(), 2, left_ms) } < 0 {
                let why = io::Error::last_os_error();
                if why.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(Error::new(ErrorKind::Io, format!("cannot wait for the load: {why}")));
            }
            if waits[0].revents != 0 {
                return Err(Error::new(ErrorKind::Cancelled, "the load was cancelled".into()));
            }
            if left_ms == 0 {
                let given = timeout.unwrap_or_default();
                let message = format!("the load did not end within the {given:?} of its operation");
                return Err(Error::new(ErrorKind::TimedOut, message + "; allow more time"));
            }
            if waits[1].revents != 0 {
                return Ok(());
            }
        }
    }
}

pub(crate) fn handle_of(operation: Option<&Operation>) -> *mut RawOperation {
    operation.map_or(null_mut(), |operation| operation.shared.handle)
}

/// See [`Operation::cancel_on_drop`].
#[must_use]
pub struct CancelOnDrop {
    operation: Operation,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.operation.cancel();
    }
}
