// SPDX-License-Identifier: Apache-2.0
//! streamer.h as Rust sees it, and the library that is opened at run time. Comments are those of the
//! header; the tests compare the structs with it.

use std::ffi::{c_void, CStr, CString};
use std::os::raw::{c_char, c_int, c_ulong};
use std::time::Duration;

use crate::error::{Error, ErrorKind};

extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
    pub fn poll(waits: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
}

#[repr(C)]
pub struct PollFd {
    pub fd: c_int,
    pub events: i16,
    pub revents: i16,
}
pub const POLLIN: i16 = 1;

const RTLD_NOW: c_int = 2;

pub const OK: i32 = 0;
pub const END: i32 = 1;
pub const NOT_READY: i32 = 2;

/// The version that these declarations are of: major and minor.
const MAJOR: u32 = 0;
const MINOR: u32 = 2;

macro_rules! handles {
    ($($name:ident)*) => { $(
        #[repr(C)]
        pub struct $name {
            _private: [u8; 0],
        }
    )* };
}
handles! { RawError RawSettings RawOperation RawListing RawFiles RawCheckpoint RawPlan RawLoad RawTensor }

macro_rules! structs {
    ($($name:ident = $c_name:literal { $($field:ident: $kind:ty,)* })*) => {
        $(
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name {
                pub struct_size: usize,
                $(pub $field: $kind,)*
            }

            impl $name {
                /// As STREAMER_*_INIT.
                pub fn new() -> Self {
                    // SAFETY: numbers and pointers, for all of which zero is a value.
                    let mut made: Self = unsafe { std::mem::zeroed() };
                    made.struct_size = std::mem::size_of::<Self>();
                    made
                }
            }
        )*

        /// For the tests: struct, field, offset, size. Structs of a newer header may have more fields.
        #[cfg(test)]
        pub fn layouts() -> Vec<(&'static str, &'static str, usize, usize)> {
            let mut all = Vec::new();
            $({
                let made = $name::new();
                let start = std::ptr::addr_of!(made) as usize;
                $(all.push(($c_name, stringify!($field), std::ptr::addr_of!(made.$field) as usize - start,
                            std::mem::size_of::<$kind>()));)*
            })*
            all
        }
    };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawDevice {
    pub kind: i32,
    pub number: i32,
}

structs! {
    ErrorInfo = "streamer_error_info" {
        status: i32,
        os_error: i32,
        http_status: i32,
        attempts: u32,
        message: *const c_char,
        uri: *const c_char,
        range_offset: u64,
        range_size: u64,
        service_code: *const c_char,
        request_id: *const c_char,
        host: *const c_char,
        elapsed_ms: u64,
    }
    EntryInfo = "streamer_entry_info" {
        uri: *const c_char,
        bytes: u64,
        is_folder: i32,
        etag: *const c_char,
    }
    PullOptions = "streamer_pull_options" {
        allow: *const *const c_char,
        allow_count: usize,
        ignore: *const *const c_char,
        ignore_count: usize,
    }
    TensorInfo = "streamer_tensor_info" {
        name: *const u8,
        name_size: usize,
        dtype: i32,
        rank: u32,
        shape: *const u64,
        bytes: u64,
        object: usize,
        object_offset: u64,
    }
    ObjectInfo = "streamer_object_info" {
        uri: *const c_char,
        bytes: u64,
        header_bytes: u64,
        tensor_count: usize,
        metadata_count: usize,
        version: *const c_char,
    }
    PlanItem = "streamer_plan_item" {
        tensor: usize,
        part: i32,
        slice_dimension: u32,
        slice_start: u64,
        slice_stop: u64,
        bytes_offset: u64,
        bytes_size: u64,
        destination: *mut c_void,
        destination_bytes: usize,
        tag: u64,
        device: RawDevice,
        priority: u32,
    }
    LoadOptions = "streamer_load_options" {
        order: i32,
        read_order: i32,
        when_full: i32,
        device: RawDevice,
        stream: *mut c_void,
        communicator: *const c_void,
        allocate: *const c_void,
        release: *const c_void,
        allocator_user: *mut c_void,
    }
    StatInfo = "streamer_stat_info" {
        name: *const c_char,
        meaning: *const c_char,
    }
    TensorView = "streamer_tensor_view" {
        name: *const u8,
        name_size: usize,
        dtype: i32,
        rank: u32,
        shape: *const u64,
        data: *mut c_void,
        bytes: u64,
        device: RawDevice,
        tensor: usize,
        item: usize,
        tag: u64,
        part: i32,
    }
}

macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// Every function of streamer.h that is used here.
        pub struct Functions {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            unsafe fn find(library: *mut c_void) -> Result<Functions, &'static str> {
                Ok(Functions {
                    $($name: {
                        let symbol = dlsym(library, concat!("streamer_", stringify!($name), "\0").as_ptr().cast());
                        if symbol.is_null() {
                            return Err(concat!("streamer_", stringify!($name)));
                        }
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(symbol)
                    },)*
                })
            }
        }
    };
}

type Text = *const c_char;
type ErrorOut = *mut *mut RawError;

functions! {
    version() -> u32;
    version_string() -> Text;
    build_info() -> Text;
    error_get_info(*const RawError, *mut ErrorInfo);
    error_line(*const RawError) -> Text;
    error_free(*mut RawError);
    settings_new(*mut *mut RawSettings, ErrorOut) -> i32;
    settings_set(*mut RawSettings, Text, Text, ErrorOut) -> i32;
    settings_set_for(*mut RawSettings, Text, Text, Text, ErrorOut) -> i32;
    settings_free(*mut RawSettings);
    operation_new(i64, *mut *mut RawOperation, ErrorOut) -> i32;
    operation_cancel(*mut RawOperation);
    operation_fd(*const RawOperation) -> c_int;
    operation_free(*mut RawOperation);
    listing_open(Text, *const RawSettings, *mut RawOperation, *mut *mut RawListing, ErrorOut) -> i32;
    listing_open_all(Text, *const RawSettings, *mut RawOperation, *mut *mut RawListing, ErrorOut) -> i32;
    listing_count(*const RawListing) -> usize;
    listing_get_info(*const RawListing, usize, *mut EntryInfo, ErrorOut) -> i32;
    listing_close(*mut RawListing);
    snapshot(Text, *const PullOptions, *const RawSettings, *mut RawOperation, *mut *mut RawFiles, ErrorOut) -> i32;
    files_folder(*const RawFiles) -> Text;
    files_close(*mut RawFiles);
    device_parse(Text, *mut RawDevice, ErrorOut) -> i32;
    checkpoint_open(*const Text, usize, *const RawSettings, *mut RawOperation, *mut *mut RawCheckpoint, ErrorOut) -> i32;
    checkpoint_close(*mut RawCheckpoint);
    checkpoint_notes(*const RawCheckpoint) -> Text;
    checkpoint_tensor_count(*const RawCheckpoint) -> usize;
    checkpoint_bytes(*const RawCheckpoint) -> u64;
    checkpoint_get_tensor_info(*const RawCheckpoint, usize, *mut TensorInfo, ErrorOut) -> i32;
    checkpoint_find(*const RawCheckpoint, *const u8, usize, *mut usize, ErrorOut) -> i32;
    checkpoint_object_count(*const RawCheckpoint) -> usize;
    checkpoint_get_object_info(*const RawCheckpoint, usize, *mut ObjectInfo, ErrorOut) -> i32;
    dtype_name(i32) -> Text;
    plan_new(*const RawCheckpoint, *mut *mut RawPlan, ErrorOut) -> i32;
    plan_add(*mut RawPlan, *const PlanItem, usize, ErrorOut) -> i32;
    plan_add_matching(*mut RawPlan, Text, *mut usize, ErrorOut) -> i32;
    plan_free(*mut RawPlan);
    load_start(*const RawPlan, *const LoadOptions, *const RawSettings, *mut *mut RawLoad, ErrorOut) -> i32;
    load_next(*mut RawLoad, i64, *mut *mut RawTensor, ErrorOut) -> i32;
    load_fd(*mut RawLoad, *mut c_int, ErrorOut) -> i32;
    load_cancel(*mut RawLoad);
    load_close(*mut RawLoad);
    stat_count() -> usize;
    stat_get_info(usize, *mut StatInfo, ErrorOut) -> i32;
    load_get_all_stats(*const RawLoad, *mut u64, usize) -> usize;
    tensor_get_view(*const RawTensor, *mut TensorView);
    tensor_release(*mut RawTensor);
}

/// Copies a text of the library; NULL is "".
pub unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        String::new()
    } else {
        CStr::from_ptr(pointer).to_string_lossy().into_owned()
    }
}

pub fn c_text(text: &str) -> Result<CString, Error> {
    CString::new(text)
        .map_err(|_| Error::new(ErrorKind::InvalidArgument, format!("{text:?} contains a NUL")))
}

/// Rounded up: a wait of 0 would be none.
pub fn milliseconds(time: Duration) -> i64 {
    i64::try_from((time.as_nanos() + 999_999) / 1_000_000).unwrap_or(i64::MAX)
}

/// The library is never closed: its threads and tensors may live as long as the process.
pub fn open(path: &CStr) -> Result<Functions, Error> {
    // SAFETY: dlopen() runs the library's constructors, of which libstreamer has none.
    let library = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    if library.is_null() {
        let why = unsafe { text(dlerror()) };
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("libstreamer cannot be loaded: {why}; set STREAMER_LIBRARY to its path"),
        ));
    }
    let shown = path.to_string_lossy();
    // SAFETY: the functions of a libstreamer have the types above; that it is one is checked next.
    let functions = unsafe { Functions::find(library) }.map_err(|missing| {
        Error::new(
            ErrorKind::Unsupported,
            format!("{shown} has no {missing}: it is not libstreamer {MAJOR}.{MINOR} or newer"),
        )
    })?;
    let version = unsafe { (functions.version)() };
    // Before 1.0 a minor version may break what the one before promised.
    if (version / 1_000_000, version / 1000 % 1000) != (MAJOR, MINOR) {
        let found = unsafe { text((functions.version_string)()) };
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{shown} is libstreamer {found}; this crate is for {MAJOR}.{MINOR}"),
        ));
    }
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::process::Command;

    #[test]
    fn a_part_of_a_millisecond_is_one() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_micros(900)), 1);
        assert_eq!(milliseconds(Duration::from_millis(1)), 1);
        assert_eq!(milliseconds(Duration::from_micros(1001)), 2);
        assert_eq!(milliseconds(Duration::MAX), i64::MAX);
    }

    #[test]
    fn the_structs_are_those_of_the_header() {
        let include = match std::env::var_os("STREAMER_INCLUDE") {
            Some(include) => include,
            None => {
                return println!("SKIPPED: structs: STREAMER_INCLUDE is not set to the header's folder")
            }
        };
        let mut program = String::from(
            "#include <stddef.h>\n#include <stdio.h>\n#include <streamer.h>\nint main(void) {\n",
        );
        let mut expected = String::new();
        for (name, field, offset, size) in layouts() {
            let c_field = format!("offsetof({name}, {field}), sizeof((({name} *)0)->{field})");
            writeln!(program, "printf(\"{name}.{field} %zu %zu\\n\", {c_field});").unwrap();
            writeln!(expected, "{name}.{field} {offset} {size}").unwrap();
        }
        program += "return 0; }\n";
        let folder = std::env::temp_dir().join(format!("streamer-layouts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("layouts.c"), program).unwrap();
        let built = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .arg("-I")
            .arg(include)
            .args(["layouts.c", "-o", "layouts"])
            .current_dir(&folder)
            .status()
            .unwrap();
        assert!(built.success());
        let found = Command::new(folder.join("layouts")).output().unwrap().stdout;
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), expected);
    }
}
