// SPDX-License-Identifier: Apache-2.0
//! Opened checkpoints.

use std::ffi::CStr;
use std::os::raw::c_char;
use std::ptr::null_mut;
use std::sync::Arc;

use crate::load::{Destination, LoadBuilder, LoadInto};
use crate::operation::{self, Operation};
use crate::sys::{self, RawCheckpoint};
use crate::{Library, Result, Settings};

/// A checkpoint about to be opened; see [`Library::checkpoint`].
#[must_use]
pub struct Open<'a> {
    library: Library,
    uris: Vec<&'a str>,
    settings: Settings,
    operation: Option<&'a Operation>,
}

impl<'a> Open<'a> {
    pub(crate) fn new(library: Library, uris: Vec<&'a str>) -> Open<'a> {
        Open { library, uris, settings: Settings::new(), operation: None }
    }

    /// Of the store, and of all loads of this checkpoint.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Cancels opening, or limits its time.
    pub fn operation(mut self, operation: &'a Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Reads the headers, and checks every rule of the format. Blocks.
    pub fn open(self) -> Result<Checkpoint> {
        let f = &*self.library.functions;
        let uris = self.uris.iter().map(|uri| sys::c_text(uri)).collect::<Result<Vec<_>>>()?;
        let pointers: Vec<*const c_char> = uris.iter().map(|uri| uri.as_ptr()).collect();
        let settings = self.settings.to_native(&self.library)?;
        // SAFETY: all arguments outlive the call.
        let handle = unsafe {
            self.library.made(|out, error| {
                let operation = operation::handle_of(self.operation);
                (f.checkpoint_open)(
                    pointers.as_ptr(),
                    pointers.len(),
                    settings.handle,
                    operation,
                    out,
                    error,
                )
            })
        }?;
        Ok(Checkpoint { shared: Arc::new(Shared { library: self.library.clone(), handle }) })
    }
}

/// One or more safetensors objects as one set of tensors, each object pinned to the version it had when it
/// was opened. Immutable; clones are the same checkpoint. It may be dropped before its loads.
#[derive(Clone)]
pub struct Checkpoint {
    shared: Arc<Shared>,
}

struct Shared {
    library: Library,
    handle: *mut RawCheckpoint,
}

// SAFETY: any number of threads may use a checkpoint at once.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        unsafe { (self.library.functions.checkpoint_close)(self.handle) }
    }
}

/// One tensor as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its number in the checkpoint.
    pub number: usize,
    /// Unique, unless the checkpoint was opened with `same_names=keep`.
    pub name: String,
    /// "BF16", as safetensors spells it.
    pub dtype: &'static str,
    /// Empty for a scalar.
    pub shape: Vec<u64>,
    /// Of all its elements.
    pub bytes: u64,
    /// The number of the object that holds it.
    pub object: usize,
    /// Of its first byte in the object.
    pub object_offset: u64,
}

/// One stored file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// A path or a URI.
    pub uri: String,
    /// Of the whole file.
    pub bytes: u64,
    /// In it.
    pub tensor_count: usize,
    /// Differs if the bytes may differ.
    pub version: String,
}

impl Checkpoint {
    /// The library it was opened with.
    pub fn library(&self) -> &Library {
        &self.shared.library
    }

    pub(crate) fn handle(&self) -> *const RawCheckpoint {
        self.shared.handle
    }

    /// Their number.
    pub fn tensor_count(&self) -> usize {
        unsafe { (self.library().functions.checkpoint_tensor_count)(self.handle()) }
    }

    /// Of all tensors together.
    pub fn bytes(&self) -> u64 {
        unsafe { (self.library().functions.checkpoint_bytes)(self.handle()) }
    }

    /// All tensors, in storage order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo> + '_ {
        (0..self.tensor_count()).map(move |number| self.tensor(number))
    }

    /// The tensor of that name; `ErrorKind::NotFound` if there is none.
    pub fn find(&self, name: &str) -> Result<TensorInfo> {
        let mut number = 0;
        // SAFETY: the name need not end in NUL; its size is given.
        unsafe {
            self.library().done(|error| {
                let f = &self.library().functions;
                (f.checkpoint_find)(self.handle(), name.as_ptr(), name.len(), &mut number, error)
            })?;
        }
        Ok(self.tensor(number))
    }

    fn tensor(&self, number: usize) -> TensorInfo {
        let f = &self.library().functions;
        let mut info = sys::TensorInfo::new();
        // SAFETY: the number is below the count; what is borrowed is copied.
        unsafe {
            (f.checkpoint_get_tensor_info)(self.handle(), number, &mut info, null_mut());
            TensorInfo {
                number,
                name: name_of(info.name, info.name_size),
                dtype: dtype_name(self.library(), info.dtype),
                shape: slice_of(info.shape, info.rank as usize).to_vec(),
                bytes: info.bytes,
                object: info.object,
                object_offset: info.object_offset,
            }
        }
    }

    /// The files, in the order of their numbers.
    pub fn objects(&self) -> Vec<ObjectInfo> {
        let f = &self.library().functions;
        unsafe {
            (0..(f.checkpoint_object_count)(self.handle()))
                .map(|number| {
                    let mut info = sys::ObjectInfo::new();
                    (f.checkpoint_get_object_info)(self.handle(), number, &mut info, null_mut());
                    ObjectInfo {
                        uri: sys::text(info.uri),
                        bytes: info.bytes,
                        tensor_count: info.tensor_count,
                        version: sys::text(info.version),
                    }
                })
                .collect()
        }
    }

    /// Which files of folders were left out and why, one line each.
    pub fn notes(&self) -> String {
        unsafe { sys::text((self.library().functions.checkpoint_notes)(self.handle())) }
    }

    /// A load of every tensor, unless the builder says otherwise.
    pub fn load(&self) -> LoadBuilder {
        LoadBuilder::new(self.clone())
    }

    /// A load into memory of the caller.
    pub fn load_into<'a>(&self, destinations: Vec<Destination<'a>>) -> LoadInto<'a> {
        LoadInto::new(self.clone(), destinations)
    }
}

/// A slice of the library's; NULL if it is empty.
pub(crate) unsafe fn slice_of<'a, T>(data: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        &[]
    } else {
        unsafe { std::slice::from_raw_parts(data, count) }
    }
}

pub(crate) unsafe fn name_of(data: *const u8, size: usize) -> String {
    String::from_utf8_lossy(unsafe { slice_of(data, size) }).into_owned()
}

/// Of static storage in the library, which is never closed.
pub(crate) fn dtype_name(library: &Library, dtype: i32) -> &'static str {
    unsafe {
        let name = (library.functions.dtype_name)(dtype);
        if name.is_null() {
            "unknown"
        } else {
            CStr::from_ptr(name).to_str().unwrap_or("unknown")
        }
    }
}
