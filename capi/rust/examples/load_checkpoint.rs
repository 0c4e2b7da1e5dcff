// SPDX-License-Identifier: Apache-2.0
//! Streams a checkpoint to host memory and prints each tensor as soon as it is there.
//!
//!     STREAMER_LIBRARY=/path/to/libstreamer.so cargo run --example load_checkpoint -- URI

use libstreamer::Library;

fn run(uri: &str) -> libstreamer::Result<(usize, u64)> {
    let (mut tensors, mut bytes) = (0, 0);
    for tensor in Library::open()?.checkpoint(&[uri]).open()?.load().start()? {
        let tensor = tensor?;
        println!("{} {} {:?}", tensor.name(), tensor.dtype(), tensor.shape());
        tensors += 1;
        bytes += tensor.byte_count();
    }
    Ok((tensors, bytes))
}

fn main() {
    let uri = std::env::args().nth(1).expect("load_checkpoint URI");
    match run(&uri) {
        Ok((tensors, bytes)) => println!("{tensors} tensors, {bytes} bytes"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
