// SPDX-License-Identifier: Apache-2.0
//! What went wrong.

use std::fmt;
use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::sys::{self, ErrorInfo, Functions, RawError};

macro_rules! kinds {
    ($($(#[$attribute:meta])* $name:ident = $number:literal,)*) => {
        /// One kind for each way a caller can react.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$attribute])* $name,)*
            /// A kind of a newer library; its number.
            Other(i32),
        }

        impl ErrorKind {
            fn of(status: i32) -> ErrorKind {
                match status {
                    $($number => ErrorKind::$name,)*
                    other => ErrorKind::Other(other),
                }
            }
        }
    };
}

kinds! {
    /// The call or a setting is wrong.
    InvalidArgument = 100,
    /// Not supported by this build or this system.
    Unsupported = 101,
    /// The caller cancelled it.
    Cancelled = 102,
    /// The memory limit leaves too little room.
    MemoryLimit = 103,
    /// The object does not exist.
    NotFound = 200,
    /// The store or the file system refused access.
    PermissionDenied = 201,
    /// The credentials are no longer accepted.
    CredentialsExpired = 202,
    /// The object is not the version that was opened.
    ObjectChanged = 203,
    /// The store asked to slow down for too long.
    Throttled = 204,
    /// No progress within the deadline.
    TimedOut = 205,
    /// Reading failed.
    Io = 206,
    /// The server's certificate is not trusted.
    Untrusted = 207,
    /// This machine's clock is too far off for the store.
    ClockSkew = 208,
    /// The content breaks the format's rules.
    Corrupt = 300,
    /// Memory could not be allocated.
    OutOfMemory = 400,
    /// The device reported an error.
    Device = 401,
    /// A bug in libstreamer.
    Internal = 900,
}

/// Displayed as one line that says what was tried, where, what happened and what to do. No text
/// contains a secret. `{:?}`, which Rust prints when `main` returns an error, is the same line behind
/// the kind.
#[derive(Clone)]
pub struct Error(Box<Fields>);

#[derive(Clone)]
struct Fields {
    kind: ErrorKind,
    line: String,
    message: String,
    uri: String,
    range: Range<u64>,
    os_error: i32,
    http_status: i32,
    service_code: String,
    request_id: String,
    host: String,
    attempts: u32,
    elapsed: Duration,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: String) -> Error {
        Error(Box::new(Fields {
            kind,
            line: message.clone(),
            message,
            uri: String::new(),
            range: 0..0,
            os_error: 0,
            http_status: 0,
            service_code: String::new(),
            request_id: String::new(),
            host: String::new(),
            attempts: 1,
            elapsed: Duration::ZERO,
        }))
    }

    /// Takes ownership of an error that the library stored.
    pub(crate) unsafe fn take(functions: &Functions, status: i32, error: *mut RawError) -> Error {
        if error.is_null() {
            // Only if memory is too short for the error itself.
            return Error::new(ErrorKind::of(status), "there is no memory for the error".into());
        }
        let mut info = ErrorInfo::new();
        // SAFETY: the error is the caller's, and is not used any more afterwards.
        unsafe {
            (functions.error_get_info)(error, &mut info);
            let made = Error(Box::new(Fields {
                kind: ErrorKind::of(info.status),
                line: sys::text((functions.error_line)(error)),
                message: sys::text(info.message),
                uri: sys::text(info.uri),
                range: info.range_offset..info.range_offset + info.range_size,
                os_error: info.os_error,
                http_status: info.http_status,
                service_code: sys::text(info.service_code),
                request_id: sys::text(info.request_id),
                host: sys::text(info.host),
                attempts: info.attempts,
                elapsed: Duration::from_millis(info.elapsed_ms),
            }));
            (functions.error_free)(error);
            made
        }
    }

    /// What a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was tried, what happened, what to do; without URI and range.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The object, if the error is about one.
    pub fn uri(&self) -> Option<&str> {
        some(&self.0.uri)
    }

    /// Of the object's bytes; `None`: the error is about all of it.
    pub fn range(&self) -> Option<Range<u64>> {
        (!self.0.range.is_empty()).then(|| self.0.range.clone())
    }

    /// errno.
    pub fn os_error(&self) -> Option<i32> {
        (self.0.os_error != 0).then_some(self.0.os_error)
    }

    /// Of the store's answer.
    pub fn http_status(&self) -> Option<u16> {
        u16::try_from(self.0.http_status).ok().filter(|status| *status != 0)
    }

    /// What the store calls the error.
    pub fn service_code(&self) -> Option<&str> {
        some(&self.0.service_code)
    }

    /// What the store's support asks for.
    pub fn request_id(&self) -> Option<&str> {
        some(&self.0.request_id)
    }

    /// Of the endpoint that the request went to.
    pub fn host(&self) -> Option<&str> {
        some(&self.0.host)
    }

    /// At least 1.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// From the first attempt to the last.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.line)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.line)
    }
}

impl std::error::Error for Error {}

/// A cancelled call is `Other`: after `Interrupted` many callers try again.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::InvalidArgument => io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::CredentialsExpired => io::ErrorKind::PermissionDenied,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Corrupt | ErrorKind::ObjectChanged => io::ErrorKind::InvalidData,
            ErrorKind::MemoryLimit | ErrorKind::OutOfMemory => io::ErrorKind::OutOfMemory,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
