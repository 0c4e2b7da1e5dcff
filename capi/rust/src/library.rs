// SPDX-License-Identifier: Apache-2.0
//! The opened library, its settings, and what can be done with stores.

use std::ffi::CString;
use std::fmt;
use std::os::raw::c_char;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use crate::checkpoint::Open;
use crate::operation::{self, Operation};
use crate::sys::{self, EntryInfo, Functions, PullOptions, RawError, RawSettings};
use crate::{Error, Result};

/// libstreamer.so, opened at run time. Clones are cheap and are the same library, which stays in the
/// process until its end.
#[derive(Clone)]
pub struct Library {
    pub(crate) functions: Arc<Functions>,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Library({})", self.version())
    }
}

impl Library {
    /// Opens the library at the path in the environment variable `STREAMER_LIBRARY` or, without it,
    /// `libstreamer.so.0` where the loader finds it.
    pub fn open() -> Result<Library> {
        match std::env::var_os("STREAMER_LIBRARY") {
            Some(path) if !path.is_empty() => Library::open_at(path),
            _ => Library::open_at("libstreamer.so.0"),
        }
    }

    /// Opens the library at a path, or of a name without a slash where the loader finds it.
    pub fn open_at(path: impl AsRef<Path>) -> Result<Library> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let path = CString::new(path.as_os_str().as_bytes()).or_else(|_| sys::c_text(&shown))?;
        Ok(Library { functions: Arc::new(sys::open(&path)?) })
    }

    /// "MAJOR.MINOR.PATCH".
    pub fn version(&self) -> String {
        unsafe { sys::text((self.functions.version_string)()) }
    }

    /// What is in the library's build, for humans: lines "NAME: VALUE".
    pub fn build_info(&self) -> String {
        unsafe { sys::text((self.functions.build_info)()) }
    }

    /// A checkpoint to open: safetensors files, folders or prefixes, shard indexes.
    pub fn checkpoint<'a>(&self, uris: &[&'a str]) -> Open<'a> {
        Open::new(self.clone(), uris.to_vec())
    }

    /// What is directly under a URI, sorted by URI; for a file, the file itself.
    pub fn list(
        &self,
        uri: &str,
        settings: &Settings,
        operation: Option<&Operation>,
    ) -> Result<Vec<Entry>> {
        self.entries(uri, settings, operation, self.functions.listing_open)
    }

    /// Everything below a URI, without folders.
    pub fn list_all(
        &self,
        uri: &str,
        settings: &Settings,
        operation: Option<&Operation>,
    ) -> Result<Vec<Entry>> {
        self.entries(uri, settings, operation, self.functions.listing_open_all)
    }

    /// A local folder with a model's small files (configuration, tokenizer, index), made once for each
    /// version of them; see streamer_snapshot() in streamer.h. A local folder is its own snapshot.
    pub fn snapshot(
        &self,
        uri: &str,
        settings: &Settings,
        operation: Option<&Operation>,
    ) -> Result<PathBuf> {
        let f = &*self.functions;
        let uri = sys::c_text(uri)?;
        let settings = settings.to_native(self)?;
        let options = PullOptions::new();
        // SAFETY: all arguments outlive the call; the files are closed before anything is returned.
        unsafe {
            let files = self.made(|out, error| {
                (f.snapshot)(
                    uri.as_ptr(),
                    &options,
                    settings.handle,
                    operation::handle_of(operation),
                    out,
                    error,
                )
            })?;
            let folder = std::ffi::CStr::from_ptr((f.files_folder)(files)).to_bytes().to_vec();
            (f.files_close)(files);
            Ok(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(folder)))
        }
    }

    fn entries(
        &self,
        uri: &str,
        settings: &Settings,
        operation: Option<&Operation>,
        open: unsafe extern "C" fn(
            *const c_char,
            *const RawSettings,
            *mut sys::RawOperation,
            *mut *mut sys::RawListing,
            *mut *mut RawError,
        ) -> i32,
    ) -> Result<Vec<Entry>> {
        let f = &*self.functions;
        let uri = sys::c_text(uri)?;
        let settings = settings.to_native(self)?;
        // SAFETY: as above; texts are copied before the listing is closed.
        unsafe {
            let listing = self.made(|out, error| {
                open(uri.as_ptr(), settings.handle, operation::handle_of(operation), out, error)
            })?;
            let entries = (0..(f.listing_count)(listing))
                .map(|index| {
                    let mut info = EntryInfo::new();
                    (f.listing_get_info)(listing, index, &mut info, null_mut());
                    Entry {
                        uri: sys::text(info.uri),
                        bytes: info.bytes,
                        is_folder: info.is_folder != 0,
                        etag: sys::text(info.etag),
                    }
                })
                .collect();
            (f.listing_close)(listing);
            Ok(entries)
        }
    }

    /// Calls a function that stores a handle or an error.
    pub(crate) unsafe fn made<T>(
        &self,
        call: impl FnOnce(*mut *mut T, *mut *mut RawError) -> i32,
    ) -> Result<*mut T> {
        let mut handle = null_mut();
        let mut error = null_mut();
        match call(&mut handle, &mut error) {
            sys::OK => Ok(handle),
            status => Err(unsafe { Error::take(&self.functions, status, error) }),
        }
    }

    /// Calls a function that stores nothing but an error.
    pub(crate) unsafe fn done(&self, call: impl FnOnce(*mut *mut RawError) -> i32) -> Result<()> {
        unsafe { self.made::<()>(|_, error| call(error)) }.map(|_| ())
    }
}

/// A file or a folder under a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of a folder it ends in '/'.
    pub uri: String,
    /// 0 for a folder.
    pub bytes: u64,
    /// A directory or a common prefix.
    pub is_folder: bool,
    /// As the store writes it; empty for folders and files, or if the store sends none.
    pub etag: String,
}

/// Settings by name, as `streamer settings` lists them; those that are not here come from the
/// environment, or are the defaults.
#[derive(Clone, Default)]
pub struct Settings {
    values: Vec<(Option<String>, String, String)>,
}

/// Names only: a value may be a secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.iter().map(|(_, name, _)| name)).finish()
    }
}

impl Settings {
    /// No settings.
    pub fn new() -> Settings {
        Settings::default()
    }

    /// Sets one; names and values are checked when they are used.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Settings {
        self.values.push((None, name.to_owned(), value.to_string()));
        self
    }

    /// Sets one of a store, for URIs that begin with a prefix: "s3://bucket/team/".
    #[must_use]
    pub fn with_for(mut self, uri_prefix: &str, name: &str, value: impl ToString) -> Settings {
        self.values.push((Some(uri_prefix.to_owned()), name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn to_native(&self, library: &Library) -> Result<NativeSettings> {
        let mut native = NativeSettings { library: library.clone(), handle: null() };
        if self.values.is_empty() {
            return Ok(native);
        }
        let f = &*library.functions;
        // SAFETY: the handle is the only one, and freed by its owner; texts are copied.
        unsafe {
            let handle = library.made(|out, error| (f.settings_new)(out, error))?;
            native.handle = handle;
            for (prefix, name, value) in &self.values {
                let name = sys::c_text(name)?;
                // Not in the error's text, should it have a NUL: it may be a secret.
                let value = CString::new(value.as_str()).map_err(|_| {
                    let shown = name.to_string_lossy();
                    Error::new(
                        crate::ErrorKind::InvalidArgument,
                        format!("the value of {shown} contains a NUL"),
                    )
                })?;
                let prefix = prefix.as_deref().map(sys::c_text).transpose()?;
                library.done(|error| match &prefix {
                    None => (f.settings_set)(handle, name.as_ptr(), value.as_ptr(), error),
                    Some(prefix) => (f.settings_set_for)(
                        handle,
                        prefix.as_ptr(),
                        name.as_ptr(),
                        value.as_ptr(),
                        error,
                    ),
                })?;
            }
        }
        Ok(native)
    }
}

/// Settings as the library takes them.
pub(crate) struct NativeSettings {
    library: Library,
    pub(crate) handle: *const RawSettings,
}

impl Drop for NativeSettings {
    fn drop(&mut self) {
        unsafe { (self.library.functions.settings_free)(self.handle as *mut RawSettings) }
    }
}
