//! The clients of the echo servers. One process with one thread sends a message on each connection, waits
//! for all replies, and repeats. Therefore each sample gives the server the same batches, on both sides.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};

use crate::Result;

pub(crate) const MESSAGE: usize = 1024;

/// Starts the process of the clients.
pub(crate) fn start(server: SocketAddr, connections: usize, messages: u64) -> Result<Child> {
    Ok(Command::new(std::env::current_exe()?)
        .args(["--load", &server.to_string(), &connections.to_string(), &messages.to_string()])
        .spawn()?)
}

/// Runs the clients.
pub(crate) fn run(server: SocketAddr, connections: usize, messages: u64) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let (message, mut reply) = ([7; MESSAGE], [0; MESSAGE]);
    for _ in 0..messages / connections as u64 {
        for stream in &mut streams {
            stream.write_all(&message)?;
        }
        for stream in &mut streams {
            stream.read_exact(&mut reply)?;
            if reply != message {
                return Err("the reply differs from the message".into());
            }
        }
    }
    Ok(())
}
