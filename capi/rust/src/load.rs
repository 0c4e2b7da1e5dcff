// SPDX-License-Identifier: Apache-2.0
//! Loads, and the tensors that they yield.

use std::collections::BTreeMap;
use std::os::raw::c_void;
use std::os::unix::io::RawFd;
use std::ptr::null_mut;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::checkpoint::{dtype_name, name_of, slice_of};
use crate::sys::{
    self, LoadOptions, PlanItem, RawDevice, RawLoad, RawPlan, RawTensor, StatInfo, TensorView,
};
use crate::{Checkpoint, Error, ErrorKind, Library, Operation, Result, Settings};

/// The order in which tensors come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Each as soon as its last byte has arrived.
    #[default]
    Completion,
    /// In the order in which they are read, by object and offset.
    Storage,
}

/// What of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// `start..stop` along a dimension.
    Slice {
        /// From 0.
        dimension: u32,
        /// Its first index.
        start: u64,
        /// Behind its last index.
        stop: u64,
    },
    /// Bytes of it.
    Bytes {
        /// From the tensor's first byte.
        offset: u64,
        /// Their number.
        size: u64,
    },
}

fn item_of(tensor: usize, part: Part) -> PlanItem {
    let mut item = PlanItem::new();
    item.tensor = tensor;
    match part {
        Part::Whole => {}
        Part::Slice { dimension, start, stop } => {
            item.part = 1;
            (item.slice_dimension, item.slice_start, item.slice_stop) = (dimension, start, stop);
        }
        Part::Bytes { offset, size } => {
            item.part = 2;
            (item.bytes_offset, item.bytes_size) = (offset, size);
        }
    }
    item
}

/// Memory of the caller, for [`Checkpoint::load_into`].
pub struct Destination<'a> {
    /// Its number in the checkpoint.
    pub tensor: usize,
    /// What of it.
    pub part: Part,
    /// With room for the part.
    pub memory: &'a mut [u8],
}

struct Plan {
    library: Library,
    handle: *mut RawPlan,
}

impl Plan {
    fn new(checkpoint: &Checkpoint) -> Result<Plan> {
        let library = checkpoint.library().clone();
        let handle = unsafe {
            library.made(|out, error| (library.functions.plan_new)(checkpoint.handle(), out, error))
        }?;
        Ok(Plan { library, handle })
    }

    unsafe fn add(&self, item: &PlanItem) -> Result<()> {
        unsafe {
            self.library.done(|error| (self.library.functions.plan_add)(self.handle, item, 1, error))
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        unsafe { (self.library.functions.plan_free)(self.handle) }
    }
}

/// A load about to start; see [`Checkpoint::load`].
#[must_use]
pub struct LoadBuilder {
    checkpoint: Checkpoint,
    settings: Settings,
    order: Order,
    device: Option<String>,
    globs: Vec<String>,
    items: Vec<PlanItem>,
    is_everything: bool,
}

impl LoadBuilder {
    pub(crate) fn new(checkpoint: Checkpoint) -> LoadBuilder {
        LoadBuilder {
            checkpoint,
            settings: Settings::new(),
            order: Order::default(),
            device: None,
            globs: Vec::new(),
            items: Vec::new(),
            is_everything: true,
        }
    }

    /// Of this load; they win over those of the checkpoint.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The order in which tensors come.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Where tensors go: "host", or "cuda:0".
    pub fn device(mut self, device: &str) -> Self {
        self.device = Some(device.to_owned());
        self
    }

    /// Only tensors whose name matches, or that are added by [`part`](LoadBuilder::part): `*`, `?` and
    /// `[..]`, where `*` also matches '/' and '.'. A pattern that matches none is
    /// `ErrorKind::InvalidArgument`.
    pub fn matching(mut self, glob: &str) -> Self {
        self.globs.push(glob.to_owned());
        self.is_everything = false;
        self
    }

    /// Only a part of the tensor of that number, and what else is asked for.
    pub fn part(self, tensor: usize, part: Part) -> Self {
        self.parts([(tensor, part)])
    }

    /// Only these parts, and what else is asked for: if there are none, nothing.
    pub fn parts(mut self, parts: impl IntoIterator<Item = (usize, Part)>) -> Self {
        self.items.extend(parts.into_iter().map(|(tensor, part)| item_of(tensor, part)));
        self.is_everything = false;
        self
    }

    /// Starts reading and returns at once.
    pub fn start(self) -> Result<Load> {
        let plan = Plan::new(&self.checkpoint)?;
        let library = self.checkpoint.library();
        let f = &*library.functions;
        let globs = if self.is_everything { vec!["*".to_owned()] } else { self.globs };
        for glob in &globs {
            let pattern = sys::c_text(glob)?;
            let mut added = 0;
            // SAFETY: the plan is this function's own.
            unsafe {
                library.done(|error| {
                    (f.plan_add_matching)(plan.handle, pattern.as_ptr(), &mut added, error)
                })?;
            }
            if added == 0 && !self.is_everything {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("{glob:?} matches no tensor"),
                ));
            }
        }
        for item in &self.items {
            unsafe { plan.add(item) }?;
        }
        let mut options = LoadOptions::new();
        options.order = i32::from(self.order == Order::Storage);
        if let Some(device) = &self.device {
            let device = sys::c_text(device)?;
            unsafe {
                library.done(|error| (f.device_parse)(device.as_ptr(), &mut options.device, error))
            }?;
        }
        // SAFETY: no item has memory of the caller.
        unsafe { Load::start(&plan, &options, &self.settings) }
    }
}

struct Shared {
    library: Library,
    handle: *mut RawLoad,
}

// SAFETY: cancelling and statistics are thread-safe; next(), fd() and close() are called by the one
// Load that there is, or by the last owner.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        // Cancels what is left and waits for reads in progress.
        unsafe { (self.library.functions.load_close)(self.handle) }
    }
}

/// What [`Load::try_next`] and [`Load::next_within`] found.
#[derive(Debug)]
pub enum Next {
    /// A tensor.
    Tensor(Tensor),
    /// Nothing yet.
    NotReady,
    /// Every tensor has been yielded.
    End,
}

/// One pass that reads tensors into memory: an iterator of them. The first error ends it, except
/// `ErrorKind::MemoryLimit`: drop tensors, and the load goes on. The iterator ends with a second one in a
/// row, so that `collect()` ends, too; [`try_next`](Load::try_next) and [`next_within`](Load::next_within)
/// go on even then. Dropping it cancels what is left, and waits for reads in progress; yielded tensors stay
/// valid.
pub struct Load {
    shared: Arc<Shared>,
    has_ended: bool,
    is_full: bool,
}

impl Load {
    /// Memory of the caller that the plan's items name must be there until the load is dropped.
    unsafe fn start(plan: &Plan, options: &LoadOptions, settings: &Settings) -> Result<Load> {
        let library = plan.library.clone();
        let settings = settings.to_native(&library)?;
        let handle = unsafe {
            library.made(|out, error| {
                (library.functions.load_start)(plan.handle, options, settings.handle, out, error)
            })
        }?;
        Ok(Load { shared: Arc::new(Shared { library, handle }), has_ended: false, is_full: false })
    }

    fn wait(&mut self, timeout_ms: i64) -> Result<Next> {
        let (mut tensor, mut error) = (null_mut(), null_mut());
        let f = &self.shared.library.functions;
        // SAFETY: &mut self: no other thread is in here.
        let status = unsafe { (f.load_next)(self.shared.handle, timeout_ms, &mut tensor, &mut error) };
        match status {
            sys::OK => {
                self.is_full = false;
                Ok(Next::Tensor(Tensor::new(self.shared.library.clone(), tensor)))
            }
            sys::END => Ok(Next::End),
            sys::NOT_READY => Ok(Next::NotReady),
            status => Err(unsafe { Error::take(f, status, error) }),
        }
    }

    /// Whatever is there now, without waiting.
    pub fn try_next(&mut self) -> Result<Next> {
        self.wait(0)
    }

    /// Waits for the next tensor for at most that long.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Next> {
        self.wait(sys::milliseconds(timeout))
    }

    /// A descriptor that is readable when [`try_next`](Load::try_next) may have a tensor, an error or the
    /// end: for tokio's `AsyncFd` and other event loops. After it was readable, call `try_next()` until that
    /// says [`Next::NotReady`] or [`Next::End`]. It is the load's: watch it only as long as the load lives,
    /// and neither read nor close it.
    pub fn event_fd(&mut self) -> Result<RawFd> {
        let mut fd = -1;
        let (library, handle) = (&self.shared.library, self.shared.handle);
        unsafe { library.done(|error| (library.functions.load_fd)(handle, &mut fd, error)) }?;
        Ok(fd)
    }

    /// Stops reading: [`next`](Iterator::next) fails with `ErrorKind::Cancelled` from now on.
    pub fn cancel(&self) {
        unsafe { (self.shared.library.functions.load_cancel)(self.shared.handle) }
    }

    /// To cancel it from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller { shared: Arc::downgrade(&self.shared) }
    }

    /// Everything that a load counts, by name; see `streamer_stat_get_info()` in streamer.h. Names of
    /// nanoseconds end in `_ns`; those of bytes begin with `bytes_` or end in `_bytes`.
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let f = &self.shared.library.functions;
        unsafe {
            let mut values = vec![0; (f.stat_count)()];
            (f.load_get_all_stats)(self.shared.handle, values.as_mut_ptr(), values.len());
            let name_of = |index| {
                let mut info = StatInfo::new();
                (f.stat_get_info)(index, &mut info, null_mut());
                sys::text(info.name)
            };
            values.into_iter().enumerate().map(|(index, value)| (name_of(index), value)).collect()
        }
    }
}

impl Iterator for Load {
    type Item = Result<Tensor>;

    fn next(&mut self) -> Option<Result<Tensor>> {
        if self.has_ended {
            return None;
        }
        let next = match self.wait(-1) {
            Ok(Next::Tensor(tensor)) => return Some(Ok(tensor)),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::MemoryLimit && !self.is_full => {
                self.is_full = true;
                return Some(Err(error));
            }
            Err(error) => Some(Err(error)),
        };
        self.has_ended = true;
        next
    }
}

impl std::iter::FusedIterator for Load {}

/// Cancels a load from any thread; does nothing once the load is dropped.
#[derive(Clone)]
pub struct Canceller {
    shared: Weak<Shared>,
}

impl Canceller {
    /// See [`Load::cancel`].
    pub fn cancel(&self) {
        if let Some(shared) = self.shared.upgrade() {
            unsafe { (shared.library.functions.load_cancel)(shared.handle) }
        }
    }
}

/// A load into memory of the caller, about to run; see [`Checkpoint::load_into`].
#[must_use]
pub struct LoadInto<'a> {
    checkpoint: Checkpoint,
    destinations: Vec<Destination<'a>>,
    settings: Settings,
    operation: Option<&'a Operation>,
}

impl<'a> LoadInto<'a> {
    pub(crate) fn new(checkpoint: Checkpoint, destinations: Vec<Destination<'a>>) -> LoadInto<'a> {
        LoadInto { checkpoint, destinations, settings: Settings::new(), operation: None }
    }

    /// Of this load; they win over those of the checkpoint.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Cancels the load, or limits its time.
    pub fn operation(mut self, operation: &'a Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Reads. Blocks. `landed` is called with the number of each destination as soon as its bytes are
    /// there; an error from it ends the load. When this returns, nothing writes to the memory any more,
    /// whatever happened.
    pub fn run(mut self, mut landed: impl FnMut(usize) -> Result<()>) -> Result<()> {
        let plan = Plan::new(&self.checkpoint)?;
        for destination in &mut self.destinations {
            let mut item = item_of(destination.tensor, destination.part);
            // A pointer is needed even where there is no room, to say that it is not the library's memory.
            item.destination = destination.memory.as_mut_ptr() as *mut c_void;
            item.destination_bytes = destination.memory.len();
            unsafe { plan.add(&item) }?;
        }
        // SAFETY: the load does not leave this function, on no way out of it, and destinations are borrowed
        // for longer.
        let mut load = unsafe { Load::start(&plan, &LoadOptions::new(), &self.settings) }?;
        loop {
            let next = match self.operation {
                None => load.wait(-1)?,
                Some(operation) => {
                    operation.wait_for(load.event_fd()?)?;
                    load.wait(0)?
                }
            };
            match next {
                Next::Tensor(tensor) => landed(tensor.item())?,
                Next::NotReady => {}
                Next::End => return Ok(()),
            }
        }
    }
}

/// One yielded tensor, and its memory, which returns to the load when it is dropped, on any thread.
pub struct Tensor {
    library: Library,
    handle: *mut RawTensor,
    view: TensorView,
}

// SAFETY: a tensor's memory is its owner's alone, and may be released on any thread.
unsafe impl Send for Tensor {}
unsafe impl Sync for Tensor {}

impl Drop for Tensor {
    fn drop(&mut self) {
        unsafe { (self.library.functions.tensor_release)(self.handle) }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?}, {}, {:?})", self.name(), self.dtype(), self.shape())
    }
}

impl Tensor {
    fn new(library: Library, handle: *mut RawTensor) -> Tensor {
        let mut view = TensorView::new();
        unsafe { (library.functions.tensor_get_view)(handle, &mut view) };
        Tensor { library, handle, view }
    }

    /// Of the tensor in the checkpoint.
    pub fn name(&self) -> String {
        unsafe { name_of(self.view.name, self.view.name_size) }
    }

    /// "BF16", as safetensors spells it.
    pub fn dtype(&self) -> &'static str {
        dtype_name(&self.library, self.view.dtype)
    }

    /// Of the part: a slice's dimension is cut, and bytes are one row of U8.
    pub fn shape(&self) -> &[u64] {
        unsafe { slice_of(self.view.shape, self.view.rank as usize) }
    }

    /// Its number in the checkpoint.
    pub fn number(&self) -> usize {
        self.view.tensor
    }

    /// Its number among the items of the load, in the order in which they were asked for.
    pub fn item(&self) -> usize {
        self.view.item
    }

    /// How many bytes it has, wherever they are.
    pub fn byte_count(&self) -> u64 {
        self.view.bytes
    }

    /// The kind of its device, by DLPack's number (0: the host, 2: CUDA), and the device's number.
    pub fn device(&self) -> (i32, i32) {
        let RawDevice { kind, number } = self.view.device;
        (kind, number)
    }

    /// Where its bytes are, in the device's memory.
    pub fn pointer(&self) -> *mut c_void {
        self.view.data
    }

    fn host_bytes(&self) -> Option<usize> {
        (self.view.device.kind == 0).then_some(self.view.bytes as usize)
    }

    /// Its bytes, row-major and dense; `None` if they are on a device.
    pub fn bytes(&self) -> Option<&[u8]> {
        // SAFETY: the library does not write to them while the tensor exists.
        self.host_bytes().map(|count| unsafe { slice_of(self.view.data as *const u8, count) })
    }

    /// The same, for writing: the memory is the tensor's own.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.host_bytes().map(|count| match count {
            0 => &mut [][..],
            _ => unsafe { std::slice::from_raw_parts_mut(self.view.data as *mut u8, count) },
        })
    }

    /// Its elements; `None` if they are of another type, on a device, or not aligned for the type.
    pub fn values<T: Element>(&self) -> Option<&[T]> {
        let bytes = self.bytes().filter(|_| self.dtype() == T::DTYPE)?;
        // SAFETY: every pattern of bits is a value of an Element.
        let (before, values, behind) = unsafe { bytes.align_to::<T>() };
        (before.is_empty() && behind.is_empty()).then_some(values)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Types of Rust that are those of elements.
pub trait Element: Copy + sealed::Sealed {
    /// As safetensors spells it.
    const DTYPE: &'static str;
}

macro_rules! elements {
    ($($kind:ty = $name:literal,)*) => { $(
        impl sealed::Sealed for $kind {}
        impl Element for $kind {
            const DTYPE: &'static str = $name;
        }
    )* };
}
elements! {
    u8 = "U8", i8 = "I8", u16 = "U16", i16 = "I16", u32 = "U32", i32 = "I32", u64 = "U64", i64 = "I64",
    f32 = "F32", f64 = "F64",
}
