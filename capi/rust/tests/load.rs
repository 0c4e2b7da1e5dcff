// SPDX-License-Identifier: Apache-2.0
//! What the crate promises, on a real checkpoint: STREAMER_TEST_CHECKPOINT is its folder, and
//! STREAMER_TEST_URI (optional) the same one in a store, which the environment says how to reach.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::io::RawFd;
use std::thread;
use std::time::{Duration, Instant};

use libstreamer::{
    Destination, Error, ErrorKind, Library, Next, Operation, Order, Part, Settings, Tensor, TensorInfo,
};

extern "C" {
    fn poll(waits: *mut PollFd, count: std::os::raw::c_ulong, timeout_ms: i32) -> i32;
}

#[repr(C)]
struct PollFd {
    fd: RawFd,
    events: i16,
    revents: i16,
}
const POLLIN: i16 = 1;

fn library() -> Library {
    Library::open().unwrap()
}

fn folder() -> String {
    std::env::var("STREAMER_TEST_CHECKPOINT").expect("STREAMER_TEST_CHECKPOINT")
}

/// The disk's, and the store's if there is one.
fn uris() -> Vec<String> {
    let mut all = vec![folder()];
    match std::env::var("STREAMER_TEST_URI") {
        Ok(uri) => all.push(uri),
        Err(_) => println!("SKIPPED: stores: STREAMER_TEST_URI is not set"),
    }
    all
}

fn stored(path: &str, tensor: &TensorInfo) -> Vec<u8> {
    let mut bytes = vec![0; tensor.bytes as usize];
    File::open(path).unwrap().read_exact_at(&mut bytes, tensor.object_offset).unwrap();
    bytes
}

/// What an ordinary read finds in the files, by name.
fn expected() -> HashMap<String, Vec<u8>> {
    let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
    let objects = checkpoint.objects();
    checkpoint
        .tensors()
        .map(|tensor| (tensor.name.clone(), stored(&objects[tensor.object].uri, &tensor)))
        .collect()
}

#[test]
fn every_byte_of_every_tensor_is_the_files() {
    let expected = expected();
    for uri in uris() {
        let checkpoint = library().checkpoint(&[&uri]).open().unwrap();
        for order in [Order::Completion, Order::Storage] {
            let mut seen = 0;
            for tensor in checkpoint.load().order(order).start().unwrap() {
                let tensor = tensor.unwrap();
                assert_eq!(tensor.bytes().unwrap(), &expected[&tensor.name()][..], "{}", tensor.name());
                assert_eq!(tensor.device(), (0, 0));
                seen += 1;
            }
            assert_eq!(seen, expected.len());
        }
    }
}

#[test]
fn tensors_outlive_everything_and_go_to_other_threads() {
    let expected = expected();
    let tensors: Vec<Tensor> = {
        let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
        checkpoint.load().start().unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(tensors.len(), expected.len());
    thread::spawn(move || {
        for mut tensor in tensors {
            assert_eq!(tensor.bytes().unwrap(), &expected[&tensor.name()][..]);
            tensor.bytes_mut().unwrap().fill(0);
        }
    })
    .join()
    .unwrap();
}

#[test]
fn a_selection_and_parts() {
    let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
    let named = |glob: &str| checkpoint.load().matching(glob).start();
    let layers = checkpoint.tensors().filter(|tensor| tensor.name.contains("layers.0.")).count();
    assert_eq!(named("*layers.0.*").unwrap().count(), layers);
    assert_eq!(named("nothing*").err().unwrap().kind(), ErrorKind::InvalidArgument);

    let whole = checkpoint.find("lm_head.weight").unwrap();
    let bytes = stored(&checkpoint.objects()[whole.object].uri, &whole);
    let row = bytes.len() / whole.shape[0] as usize;
    let mut load = checkpoint
        .load()
        .part(whole.number, Part::Slice { dimension: 0, start: 2, stop: 5 })
        .part(whole.number, Part::Bytes { offset: 7, size: 9 })
        .order(Order::Storage)
        .start()
        .unwrap();
    let mut parts: Vec<Tensor> = load.by_ref().map(Result::unwrap).collect();
    assert!(load.next().is_none());
    parts.sort_by_key(Tensor::item);
    assert_eq!(parts[0].shape(), &[3, whole.shape[1]]);
    assert_eq!(parts[0].bytes().unwrap(), &bytes[2 * row..5 * row]);
    assert_eq!(parts[1].bytes().unwrap(), &bytes[7..16]);
    assert_eq!(parts[1].values::<u8>().unwrap(), &bytes[7..16]);
    assert!(parts[1].values::<f32>().is_none());
    assert_eq!(parts[0].number(), whole.number);

    let wanted = |names: &[&str]| -> usize {
        let parts = checkpoint.tensors().filter(|tensor| names.contains(&tensor.name.as_str()));
        let parts = parts.map(|tensor| (tensor.number, Part::Whole));
        checkpoint.load().parts(parts).start().unwrap().map(Result::unwrap).count()
    };
    assert_eq!(wanted(&["lm_head.weight", "model.positions"]), 2);
    assert_eq!(wanted(&[]), 0);
    let more = checkpoint.load().parts([]).matching("*layers.0.*").start().unwrap();
    assert_eq!(more.count(), layers);
}

#[test]
fn memory_of_the_caller_is_filled() {
    let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
    let objects = checkpoint.objects();
    let tensors: Vec<TensorInfo> = checkpoint.tensors().collect();
    let mut memory: Vec<Vec<u8>> =
        tensors.iter().map(|tensor| vec![1; tensor.bytes as usize]).collect();
    let mut landed = Vec::new();
    let all = memory
        .iter_mut()
        .zip(&tensors)
        .map(|(memory, tensor)| Destination { tensor: tensor.number, part: Part::Whole, memory })
        .collect();
    checkpoint
        .load_into(all)
        .run(|item| {
            landed.push(item);
            Ok(())
        })
        .unwrap();
    landed.sort_unstable();
    assert_eq!(landed, (0..tensors.len()).collect::<Vec<_>>());
    for (memory, tensor) in memory.iter().zip(&tensors) {
        assert_eq!(memory, &stored(&objects[tensor.object].uri, tensor), "{}", tensor.name);
    }
    let mut small = [0; 3];
    let too_small =
        vec![Destination { tensor: tensors[0].number, part: Part::Whole, memory: &mut small }];
    let error = checkpoint.load_into(too_small).run(|_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn errors_are_those_of_the_language() {
    let error = library().checkpoint(&["/nowhere/at/all"]).open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.uri(), Some("/nowhere/at/all"));
    assert_eq!(error.os_error(), Some(2));
    assert!(error.attempts() >= 1 && error.range().is_none() && error.http_status().is_none());
    assert!(error.to_string().contains("/nowhere/at/all"));
    assert_eq!(format!("{error:?}"), format!("NotFound: {error}"));
    let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(error.clone());
    assert_eq!(boxed.downcast_ref::<Error>().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);

    let secret = Settings::new().with("s3_credentials", "keys:ID:CANARY").with("memory_limit", "lots");
    assert!(!format!("{secret:?}").contains("CANARY"));
    let error = library().checkpoint(&[&folder()]).settings(secret).open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("memory_limit") && !error.to_string().contains("CANARY"));
    let error = library().checkpoint(&["a\0b"]).open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    let error = Library::open_at("/nowhere/libstreamer.so").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("/nowhere/libstreamer.so"), "{error}");
    let error = Library::open_at("libc.so.6").unwrap_err();
    assert!(error.to_string().contains("has no streamer_"), "{error}");
}

/// Slow enough that whoever waits for its end waits in vain.
fn slow() -> Settings {
    Settings::new().with("max_bandwidth", "64KiB")
}

#[test]
fn a_dropped_load_ends_and_a_cancelled_one_says_so() {
    let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
    drop(checkpoint.load().settings(slow()).start().unwrap());

    let mut load = checkpoint.load().settings(slow()).start().unwrap();
    let canceller = load.canceller();
    let cancelling = thread::spawn(move || {
        canceller.cancel();
        canceller
    });
    let error = load.find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(load.next().is_none());
    drop(load);
    cancelling.join().unwrap().cancel();
}

#[test]
fn a_short_wait_is_one() {
    let short = Duration::from_micros(900);
    let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
    let mut load = checkpoint.load().settings(slow()).start().unwrap();
    loop {
        let began = Instant::now();
        if let Next::NotReady = load.next_within(short).unwrap() {
            assert!(began.elapsed() >= short);
            break;
        }
    }
}

#[test]
fn tensors_that_fill_the_memory_limit_end_the_iterator_and_not_the_load() {
    let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
    let small = || Settings::new().with("memory_limit", "256KiB").with("debug.map_cached", "off");
    let mut load = checkpoint.load().settings(small()).start().unwrap();
    let mut held: Vec<Result<Tensor, Error>> = load.by_ref().take(10_000).collect();
    let full = |next: &Result<Tensor, Error>| {
        next.as_ref().err().map(Error::kind) == Some(ErrorKind::MemoryLimit)
    };
    let count = held.len();
    assert!(count < 10_000 && full(&held[count - 1]) && full(&held[count - 2]), "{count}");
    assert!(held[..count - 2].iter().all(Result::is_ok));
    assert!(load.next().is_none());
    held.clear();
    assert!(load.next().is_none());
    let mut seen = count - 2;
    while let Next::Tensor(_) = load.next_within(Duration::from_secs(60)).unwrap() {
        seen += 1;
    }
    assert_eq!(seen, checkpoint.tensor_count());

    // Once in a row, and the iterator goes on.
    let (mut seen, mut waits) = (0, 0);
    for next in checkpoint.load().settings(small()).start().unwrap() {
        match next {
            Ok(tensor) => {
                seen += 1;
                held.push(Ok(tensor));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::MemoryLimit);
                waits += 1;
                held.clear();
            }
        }
    }
    assert_eq!(seen, checkpoint.tensor_count());
    assert!(waits > 1);
}

#[test]
fn a_dropped_guard_cancels_a_call() {
    let operation = Operation::new(&library(), None).unwrap();
    drop(operation.cancel_on_drop());
    let error = library().checkpoint(&[&folder()]).operation(&operation).open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let operation = Operation::new(&library(), Some(Duration::from_nanos(1))).unwrap();
    thread::sleep(Duration::from_millis(2));
    let error = library().list(&folder(), &Settings::new(), Some(&operation)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn an_operation_ends_a_load_into_memory_of_the_caller() {
    let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
    let tensors: Vec<TensorInfo> = checkpoint.tensors().collect();
    let landed = |settings, operation: &Operation, then: &dyn Fn()| {
        let mut memory: Vec<Vec<u8>> =
            tensors.iter().map(|tensor| vec![1; tensor.bytes as usize]).collect();
        let all = memory
            .iter_mut()
            .zip(&tensors)
            .map(|(memory, tensor)| Destination { tensor: tensor.number, part: Part::Whole, memory })
            .collect();
        let mut count = 0;
        let load = checkpoint.load_into(all).settings(settings).operation(operation);
        let done = load.run(|_| {
            count += 1;
            then();
            Ok(())
        });
        done.map(|_| count).map_err(|error| error.kind())
    };
    let operation = Operation::new(&library(), Some(Duration::from_secs(600))).unwrap();
    assert_eq!(landed(Settings::new(), &operation, &|| {}), Ok(tensors.len()));
    let canceller = operation.clone();
    let (started, wait) = std::sync::mpsc::channel();
    let cancelling = thread::spawn(move || {
        wait.recv().unwrap();
        canceller.cancel();
    });
    let then = || started.send(()).unwrap_or_default();
    assert_eq!(landed(slow(), &operation, &then), Err(ErrorKind::Cancelled));
    cancelling.join().unwrap();
    assert_eq!(landed(Settings::new(), &operation, &|| {}), Err(ErrorKind::Cancelled));
    let short = Operation::new(&library(), Some(Duration::from_millis(50))).unwrap();
    assert_eq!(landed(slow(), &short, &|| {}), Err(ErrorKind::TimedOut));
}

#[test]
fn an_event_loop_gets_everything() {
    for uri in uris() {
        let checkpoint = library().checkpoint(&[&uri]).open().unwrap();
        let mut load = checkpoint.load().start().unwrap();
        let mut wait = PollFd { fd: load.event_fd().unwrap(), events: POLLIN, revents: 0 };
        let (mut seen, mut has_ended) = (0, false);
        while !has_ended {
            // SAFETY: one struct, which is there.
            assert_eq!(unsafe { poll(&mut wait, 1, 60_000) }, 1);
            loop {
                match load.try_next().unwrap() {
                    Next::Tensor(_) => seen += 1,
                    Next::NotReady => break,
                    Next::End => {
                        has_ended = true;
                        break;
                    }
                }
            }
        }
        assert_eq!(seen, checkpoint.tensor_count());
    }
}

#[test]
fn what_else_a_store_has() {
    for uri in uris() {
        let entries = library().list(&uri, &Settings::new(), None).unwrap();
        assert!(entries
            .iter()
            .any(|entry| entry.uri.ends_with("-00001-of-00002.safetensors") && entry.bytes > 0));
        assert_eq!(library().list_all(&uri, &Settings::new(), None).unwrap().len(), entries.len());
    }
    let snapshot = library().snapshot(&folder(), &Settings::new(), None).unwrap();
    assert_eq!(snapshot, std::path::Path::new(&folder()));
    assert!(library().build_info().starts_with("curl: "));
    let checkpoint = library().checkpoint(&[&folder()]).open().unwrap();
    let mut load = checkpoint.load().start().unwrap();
    assert!(matches!(load.next_within(Duration::from_secs(60)).unwrap(), Next::Tensor(_)));
    assert_eq!(load.by_ref().count() + 1, checkpoint.tensor_count());
    assert_eq!(load.stats()["bytes_ready"], checkpoint.bytes());
    assert_eq!(checkpoint.notes(), "");
    assert!(checkpoint.objects().iter().all(|object| !object.version.is_empty()));
}
