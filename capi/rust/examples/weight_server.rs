// SPDX-License-Identifier: Apache-2.0
//! A server as inference servers are: it answers at once, loads its weights meanwhile, and says when it
//! is ready.
//!
//!     STREAMER_LIBRARY=/path/to/libstreamer.so cargo run --example weight_server -- URI PORT
//!
//!     GET /health         200 ready; 503 and how far it is; 500 and what failed
//!     GET /tensors/NAME   the bytes of a tensor, as soon as it is there

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, RwLock};
use std::thread;

use libstreamer::{Library, Tensor};

#[derive(Default)]
struct Weights {
    tensors: HashMap<String, Arc<Tensor>>,
    outcome: Option<Result<(), libstreamer::Error>>,
}

fn load(uri: &str, weights: &RwLock<Weights>) -> libstreamer::Result<()> {
    for tensor in Library::open()?.checkpoint(&[uri]).open()?.load().start()? {
        let tensor = tensor?;
        weights.write().unwrap().tensors.insert(tensor.name(), Arc::new(tensor));
    }
    Ok(())
}

fn answer(mut connection: &TcpStream, status: u16, body: &[u8]) -> io::Result<()> {
    let size = body.len();
    let head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
    connection.write_all(head.as_bytes())?;
    connection.write_all(body)
}

fn serve(connection: &TcpStream, weights: &RwLock<Weights>) -> io::Result<()> {
    let mut request = BufReader::new(connection);
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut header = String::new();
    while request.read_line(&mut header)? > 2 {
        header.clear();
    }
    match first.split(' ').nth(1).unwrap_or_default() {
        "/health" => {
            let weights = weights.read().unwrap();
            let count = weights.tensors.len();
            match &weights.outcome {
                None => {
                    answer(connection, 503, format!("loading: {count} tensors are there").as_bytes())
                }
                Some(Ok(())) => answer(connection, 200, b"ready"),
                Some(Err(error)) => answer(connection, 500, error.to_string().as_bytes()),
            }
        }
        path => {
            // Held while its bytes are sent, without the lock.
            let name = path.strip_prefix("/tensors/").unwrap_or_default();
            let tensor = weights.read().unwrap().tensors.get(name).cloned();
            match &tensor {
                Some(tensor) => answer(connection, 200, tensor.bytes().unwrap_or_default()),
                None => answer(connection, 404, b"no such tensor yet"),
            }
        }
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (uri, port) = match &arguments[..] {
        [_, uri, port] => (uri.clone(), port),
        _ => panic!("weight_server URI PORT"),
    };
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("listening on {}", listener.local_addr()?.port());
    let weights = Arc::new(RwLock::new(Weights::default()));
    let loaded = weights.clone();
    thread::spawn(move || {
        let outcome = load(&uri, &loaded);
        loaded.write().unwrap().outcome = Some(outcome);
    });
    for connection in listener.incoming() {
        let (connection, weights) = (connection?, weights.clone());
        // A client that goes away is its own affair.
        thread::spawn(move || serve(&connection, &weights).unwrap_or_default());
    }
    Ok(())
}
