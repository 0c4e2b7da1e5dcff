// SPDX-License-Identifier: Apache-2.0
//! Cancelling calls that wait for a store, or limiting their time.

use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::{self, RawOperation};
use crate::{Library, Result};

/// Cancels calls that wait for a store, or limits their time, all of them together. Clones are the same
/// operation; any number of calls may share it, one after another or at once.
#[derive(Clone)]
pub struct Operation {
    shared: Arc<Shared>,
}

struct Shared {
    library: Library,
    handle: *mut RawOperation,
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
        let f = &library.functions;
        let handle = unsafe { library.made(|out, error| (f.operation_new)(timeout_ms, out, error)) }?;
        Ok(Operation { shared: Arc::new(Shared { library: library.clone(), handle }) })
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
