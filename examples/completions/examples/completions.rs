//! Files and sockets with completions: copies a file and verifies the copy, and runs an echo server.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use completions::{
    Part, Ring, Scope, accept, read_at, read_vectored_at, recv, send, write_at, write_vectored_at,
};
use rustix_uring::types::{CURRENT_POSITION, OFlags};

/// Files and sockets with completions. Without a command, copies a temporary file, and runs an echo server
/// with its own clients.
#[derive(Parser)]
#[command(name = "completions")]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Copy a file with direct I/O, and read each block back to compare it.
    Copy { source: PathBuf, dest: PathBuf },
    /// Run an echo server.
    Echo {
        /// The address to listen on. Port 0 selects a free port.
        #[arg(default_value = "127.0.0.1:7777")]
        address: SocketAddr,
    },
}

fn main() -> Result<()> {
    let ring = Ring::new(256).context("cannot set up a ring (requires Linux 5.18)")?;
    match Options::parse().command {
        Some(Command::Copy { source, dest }) => copy(&ring, &source, &dest),
        Some(Command::Echo { address }) => {
            let listener = TcpListener::bind(address)?;
            println!("listening on {}", listener.local_addr()?);
            echo(&ring, &listener, 256, true);
            Ok(())
        }
        None => {
            copy_ourselves(&ring)?;
            echo_ourselves(&ring)?;
            write_in_order(&ring)
        }
    }
}

/// A buffer for direct I/O, aligned for the strictest devices.
#[derive(Clone)]
#[repr(align(4096))]
struct Block([u8; Block::LEN]);

impl Block {
    const LEN: usize = 64 << 10;
    const ALIGN: usize = align_of::<Self>();
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The number of blocks to copy concurrently.
const BLOCKS: usize = 16;

/// Copies a file with direct I/O, if the file system supports it. Writes each block, reads it back, and
/// compares it.
fn copy(ring: &Ring, source: &Path, dest: &Path) -> Result<()> {
    let len = source.metadata()?.len();
    let (from, read_directly) = open_direct(OpenOptions::new().read(true), source)
        .with_context(|| format!("cannot read {}", source.display()))?;
    let mut options = OpenOptions::new();
    let (to, written_directly) = open_direct(options.read(true).write(true).create_new(true), dest)
        .with_context(|| format!("cannot write {}", dest.display()))?;

    let mut blocks = vec![(Block([0; Block::LEN]), Block([0; Block::LEN])); BLOCKS];
    let mut copied = 0;
    while copied < len {
        let done = copy_some(ring, &from, &to, copied, &mut blocks)?;
        ensure!(done > 0, "{} has become shorter", source.display());
        copied += done;
    }
    to.set_len(copied)?; // the last block was written with its padding
    to.sync_all()?;
    let how = |directly| if directly { "directly" } else { "through the page cache" };
    let (read, written) = (how(read_directly), how(written_directly));
    println!("{copied} bytes read {read}, written {written}, read back and compared");
    Ok(())
}

/// Copies one batch of blocks, from `start` on. Returns the number of bytes copied.
fn copy_some(
    ring: &Ring,
    from: &File,
    to: &File,
    start: u64,
    blocks: &mut [(Block, Block)],
) -> Result<u64> {
    let offsets = (start..).step_by(Block::LEN);
    ring.scope(|scope| {
        let reading: Vec<_> = offsets
            .zip(blocks)
            .map(|(at, (block, back))| (at, scope.start(read_at(from, block, at)), back))
            .collect();

        let (mut copying, mut copied) = (Vec::new(), 0);
        for (offset, reading, back) in reading {
            let (read, block) = reading.wait();
            let read = read.context("cannot read")?;
            if read == 0 {
                break;
            }
            copied += read as u64;
            // Direct I/O transfers whole sectors, even at the end of the file.
            let len = read.next_multiple_of(Block::ALIGN);
            let write = write_at(to, Part::new(block, 0..len), offset);
            let read_back = read_at(to, Part::new(back, 0..len), offset);
            copying.push((read, scope.link(write, read_back)));
            if read < Block::LEN {
                break; // possibly the end of the file: the next call finds out
            }
        }
        for (read, (writing, reading)) in copying {
            let (written, block) = writing.wait();
            let (read_back, back) = reading.wait();
            ensure!(written.context("cannot write")? == block.range.len(), "a short write");
            read_back.context("cannot read back")?;
            ensure!(
                block.whole.0[..read] == back.whole.0[..read],
                "the data that was read back differs"
            );
        }
        Ok(copied)
    })
}

/// Opens a file, for direct I/O if the file system supports it. The second value is whether it does.
fn open_direct(options: &OpenOptions, path: &Path) -> io::Result<(File, bool)> {
    let file = options.open(path)?;
    let mut options = options.clone();
    match options.create_new(false).custom_flags(OFlags::DIRECT.bits() as i32).open(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok((file, false)),
        opened => Ok((opened?, true)),
    }
}

/// Serves this many connections concurrently, with a task for each, all on this thread. Each task serves one
/// connection, or one after the other if `for_ever` is set.
fn echo(ring: &Ring, listener: &TcpListener, connections: usize, for_ever: bool) {
    let mut buffers = vec![[0; 4096]; connections];
    ring.scope(|scope| {
        scope.run_all(buffers.iter_mut().map(async |mut buf| {
            loop {
                let served;
                (served, buf) = serve(scope, listener, buf).await;
                if let Err(error) = served {
                    eprintln!("{error}");
                }
                if !for_ever {
                    break;
                }
            }
        }));
    });
}

/// Serves one connection, and returns the buffer.
async fn serve<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listener: &'scope TcpListener,
    mut buf: &'scope mut [u8; 4096],
) -> (io::Result<()>, &'scope mut [u8; 4096]) {
    let stream = match scope.start(accept(listener)).await {
        Ok((stream, _)) => Arc::new(stream),
        Err(error) => return (Err(error), buf),
    };
    loop {
        let received;
        (received, buf) = scope.start(recv(stream.clone(), buf)).await;
        let len = match received {
            Ok(0) => return (Ok(()), buf),
            Ok(len) => len,
            Err(error) => return (Err(error), buf),
        };
        let (sent, part) = scope.start(send(stream.clone(), Part::new(buf, 0..len))).await;
        buf = part.whole;
        if let Err(error) = sent {
            return (Err(error), buf);
        }
    }
}

fn copy_ourselves(ring: &Ring) -> Result<()> {
    // Use the current directory: the directory for temporary files is often in memory.
    let dir = tempfile::tempdir_in(".")?;
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let contents: Vec<u8> = (0..3_000_001).map(|_| fastrand::u8(..)).collect();
    std::fs::write(&source, &contents)?;
    copy(ring, &source, &dest)?;
    ensure!(std::fs::read(&dest)? == contents, "the copy differs");
    Ok(())
}

fn echo_ourselves(ring: &Ring) -> Result<()> {
    const CONNECTIONS: usize = 8;
    const LEN: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::scope(|threads| {
        threads.spawn(|| echo(ring, &listener, CONNECTIONS, false));
        let client = |_| threads.spawn(move || converse(address, LEN));
        let clients: Vec<_> = (0..CONNECTIONS).map(client).collect();
        for client in clients {
            client.join().expect("no panic")?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    println!("{CONNECTIONS} connections: each got back all {LEN} bytes that it has sent");
    Ok(())
}

/// Writes lines in order, and reads them after all writes have ended.
fn write_in_order(ring: &Ring) -> Result<()> {
    let file = tempfile::tempfile()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let numbers = ["one ", "two ", "three ", "four "];
    let (mut first, mut others) = ([0; 4], [0; 12]);
    let read = ring.scope(|scope| {
        let accepting = scope.start(accept(&listener));
        let line = |number: &'static str| {
            let parts = [IoSlice::new(number.as_bytes()), IoSlice::new(b"\n")];
            write_vectored_at(&file, parts, CURRENT_POSITION)
        };
        let writing = scope.chain(numbers.map(line));
        // No client connects, so the drained read and the scope would wait for this accept.
        accepting.cancel();
        let parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut others)];
        let (read, _) = scope.start(read_vectored_at(&file, parts, 0).drained()).wait();
        for writing in writing {
            writing.wait().0.context("cannot write")?;
        }
        ensure!(accepting.wait().is_err(), "a client has connected");
        read.context("cannot read")
    })?;
    ensure!((read, &first, &others) == (16, b"one ", b"\ntwo \nthree "), "out of order");
    println!("{} lines written in order, then read back", numbers.len());
    Ok(())
}

/// Sends this many bytes, and compares the echo.
fn converse(address: SocketAddr, len: usize) -> Result<()> {
    let bytes: Vec<u8> = (0..len).map(|_| fastrand::u8(..)).collect();
    let stream = TcpStream::connect(address)?;
    let mut back = vec![0; len];
    thread::scope(|threads| {
        let sending = threads.spawn(|| (&stream).write_all(&bytes));
        (&stream).read_exact(&mut back)?;
        sending.join().expect("no panic")
    })?;
    ensure!(back == bytes, "the data that was read back differs");
    Ok(())
}
