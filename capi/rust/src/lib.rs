// SPDX-License-Identifier: Apache-2.0
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

mod checkpoint;
mod error;
mod library;
mod load;
mod operation;
#[allow(missing_docs, unsafe_op_in_unsafe_fn)]
mod sys;

pub use checkpoint::{Checkpoint, ObjectInfo, Open, TensorInfo};
pub use error::{Error, ErrorKind};
pub use library::{Entry, Library, Settings};
pub use load::{
    Canceller, Destination, Element, Load, LoadBuilder, LoadInto, Next, Order, Part, Tensor,
};
pub use operation::{CancelOnDrop, Operation};

/// What every fallible call returns.
pub type Result<T> = std::result::Result<T, Error>;
