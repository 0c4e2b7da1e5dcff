// SPDX-License-Identifier: Apache-2.0
//! Streams a checkpoint to host memory and prints each tensor as soon as it is there. Nothing but
//! the standard library: libstreamer.so is loaded at run time.
//!
//!     rustc load_checkpoint.rs && ./load_checkpoint /path/to/libstreamer.so URI

use std::env;
use std::ffi::{c_void, CStr, CString};
use std::os::raw::{c_char, c_int};
use std::process::exit;
use std::ptr::{null, null_mut};

extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

const RTLD_NOW: c_int = 2;

// From streamer.h.
const OK: i32 = 0;
const END: i32 = 1;

#[repr(C)]
struct TensorView {
    struct_size: usize,
    name: *const u8,
    name_size: usize,
    dtype: i32,
    rank: u32,
    shape: *const u64,
    data: *mut c_void,
    bytes: u64,
    device: [i32; 2],
    tensor: usize,
    item: usize,
    tag: u64,
    part: i32,
}

type Handle = *mut c_void;
type Open =
    unsafe extern "C" fn(*const *const c_char, usize, Handle, Handle, *mut Handle, *mut Handle) -> i32;
type PlanNew = unsafe extern "C" fn(Handle, *mut Handle, *mut Handle) -> i32;
type PlanAdd = unsafe extern "C" fn(Handle, *const c_char, *mut usize, *mut Handle) -> i32;
type LoadStart = unsafe extern "C" fn(Handle, *const c_void, Handle, *mut Handle, *mut Handle) -> i32;
type LoadNext = unsafe extern "C" fn(Handle, i64, *mut Handle, *mut Handle) -> i32;
type GetView = unsafe extern "C" fn(Handle, *mut TensorView);
type End = unsafe extern "C" fn(Handle);
type ErrorLine = unsafe extern "C" fn(Handle) -> *const c_char;
type DtypeName = unsafe extern "C" fn(i32) -> *const c_char;

struct Library(*mut c_void);

impl Library {
    fn open(path: &str) -> Library {
        let path = CString::new(path).unwrap();
        let library = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
        if library.is_null() {
            eprintln!("{}", unsafe { text(dlerror()) });
            exit(2);
        }
        Library(library)
    }

    /// A function of streamer.h; T must be its type.
    unsafe fn find<T: Copy>(&self, name: &str) -> T {
        let symbol = CString::new(name).unwrap();
        let found = dlsym(self.0, symbol.as_ptr());
        if found.is_null() {
            eprintln!("libstreamer has no {name}");
            exit(2);
        }
        std::mem::transmute_copy(&found)
    }
}

unsafe fn text(pointer: *const c_char) -> String {
    CStr::from_ptr(pointer).to_string_lossy().into_owned()
}

/// Ends a handle when it goes out of scope.
struct Owned {
    handle: Handle,
    end: End,
}

impl Drop for Owned {
    fn drop(&mut self) {
        unsafe { (self.end)(self.handle) }
    }
}

unsafe fn run(library: &Library, uri: &str) -> Result<(usize, u64), Owned> {
    let error_end: End = library.find("streamer_error_free");
    let check = |status: i32, error: Handle| match status {
        OK | END => Ok(status),
        _ => Err(Owned { handle: error, end: error_end }),
    };
    let mut error = null_mut();

    let open: Open = library.find("streamer_checkpoint_open");
    let uri = CString::new(uri).unwrap();
    let mut handle = null_mut();
    check(open(&uri.as_ptr(), 1, null_mut(), null_mut(), &mut handle, &mut error), error)?;
    let checkpoint = Owned { handle, end: library.find("streamer_checkpoint_close") };

    let plan_new: PlanNew = library.find("streamer_plan_new");
    check(plan_new(checkpoint.handle, &mut handle, &mut error), error)?;
    let plan = Owned { handle, end: library.find("streamer_plan_free") };
    let add: PlanAdd = library.find("streamer_plan_add_matching");
    check(add(plan.handle, null(), null_mut(), &mut error), error)?;

    let start: LoadStart = library.find("streamer_load_start");
    check(start(plan.handle, null(), null_mut(), &mut handle, &mut error), error)?;
    let load = Owned { handle, end: library.find("streamer_load_close") };

    let next: LoadNext = library.find("streamer_load_next");
    let view_of: GetView = library.find("streamer_tensor_get_view");
    let release: End = library.find("streamer_tensor_release");
    let dtype_name: DtypeName = library.find("streamer_dtype_name");
    let (mut tensors, mut bytes) = (0, 0);
    while check(next(load.handle, -1, &mut handle, &mut error), error)? == OK {
        let tensor = Owned { handle, end: release };
        let mut view: TensorView = std::mem::zeroed();
        view.struct_size = std::mem::size_of::<TensorView>();
        view_of(tensor.handle, &mut view);
        let name = std::slice::from_raw_parts(view.name, view.name_size);
        let shape = if view.rank == 0 { &[] } else {
            std::slice::from_raw_parts(view.shape, view.rank as usize)
        };
        println!("{} {} {:?}", String::from_utf8_lossy(name), text(dtype_name(view.dtype)), shape);
        tensors += 1;
        bytes += view.bytes;
    }
    Ok((tensors, bytes))
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if arguments.len() != 3 {
        eprintln!("load_checkpoint LIBSTREAMER URI");
        exit(2);
    }
    let library = Library::open(&arguments[1]);
    match unsafe { run(&library, &arguments[2]) } {
        Ok((tensors, bytes)) => println!("{tensors} tensors, {bytes} bytes"),
        Err(error) => {
            let line: ErrorLine = unsafe { library.find("streamer_error_line") };
            eprintln!("{}", unsafe { text(line(error.handle)) });
            exit(1);
        }
    }
}
