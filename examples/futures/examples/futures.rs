//! Reads files with a ring in a tokio runtime, and writes them to the standard output or to clients.

use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use futures::buf::Part;
use futures::fs::File;
use futures::net::{TcpListener, TcpStream};
use rustix_uring::types::{CURRENT_POSITION, OFlags, Shutdown};

/// Reads files with a ring in a tokio runtime. Without a command, serves a file to its own clients.
#[derive(Parser)]
#[command(name = "futures")]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Write files to the standard output.
    Cat { files: Vec<PathBuf> },
    /// Send a file to each client that connects, until ctrl-c.
    Serve {
        file: PathBuf,
        /// The address to listen on. Port 0 selects a free port.
        #[arg(default_value = "127.0.0.1:7777")]
        address: SocketAddr,
    },
    /// Run an echo server, until ctrl-c.
    Echo {
        /// The address to listen on. Port 0 selects a free port.
        #[arg(default_value = "127.0.0.1:7777")]
        address: SocketAddr,
    },
}

fn main() -> Result<()> {
    let ran = match Options::parse().command {
        Some(Command::Cat { files }) => futures::try_start(cat(files)),
        Some(Command::Serve { file, address }) => futures::try_start(async move {
            let listener = tokio::net::TcpListener::bind(address).await?;
            println!("listening on {}, ctrl-c to stop", listener.local_addr()?);
            until_interrupted(serve(listener, file.into())).await
        }),
        Some(Command::Echo { address }) => futures::try_start(async move {
            let listener = net::TcpListener::bind(address)?;
            println!("listening on {}, ctrl-c to stop", listener.local_addr()?);
            until_interrupted(echo(listener)).await
        }),
        None => futures::try_start(serve_ourselves()),
    };
    ran.context("the ring has failed")?
}

/// Runs a server until ctrl-c, then drops it. The runtime cancels the operations that are in flight.
async fn until_interrupted(server: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        stopped = server => stopped,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

/// The number of bytes in one read.
const BLOCK: usize = 16 << 10;

/// Writes files to the standard output, one after the other.
async fn cat(files: Vec<PathBuf>) -> Result<()> {
    let stdout = File::new(io::stdout().as_fd().try_clone_to_owned()?);
    for path in files {
        let cannot = || format!("cannot read {}", path.display());
        let file = File::open(&path).await.with_context(cannot)?;
        let (mut buf, mut offset) = (vec![0; BLOCK], 0);
        loop {
            let (read, filled) = file.read_at(buf, offset).await;
            let mut rest = Part::new(filled, 0..read.with_context(cannot)?);
            if rest.range.is_empty() {
                break;
            }
            offset += rest.range.len() as u64;
            while !rest.range.is_empty() {
                let written;
                (written, rest) = stdout.write_at(rest, CURRENT_POSITION).await;
                let written = written.context("cannot write")?;
                ensure!(written > 0, "cannot write: no more bytes are accepted");
                rest.range.start += written;
            }
            buf = rest.whole;
        }
        file.close().await.with_context(cannot)?;
    }
    Ok(())
}

/// Accepts connections with tokio, and starts a task for each, which sends the file.
async fn serve(listener: tokio::net::TcpListener, file: Rc<Path>) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let stream = TcpStream::new(stream.into_std()?);
        let file = file.clone();
        futures::spawn(async move {
            match send_file(&file, stream).await {
                Ok(sent) => println!("{peer}: {sent} bytes"),
                Err(error) => eprintln!("{peer}: {error}"),
            }
        });
    }
}

/// Sends a file, and returns the number of bytes sent.
async fn send_file(path: &Path, stream: TcpStream) -> io::Result<u64> {
    let file = File::open(path).await?;
    let (mut buf, mut offset) = (vec![0; BLOCK], 0);
    loop {
        let (read, filled) = file.read_at(buf, offset).await;
        let part = Part::new(filled, 0..read?);
        if part.range.is_empty() {
            break;
        }
        offset += part.range.len() as u64;
        let (sent, part) = stream.write_all(part).await;
        sent?;
        buf = part.whole;
    }
    file.close().await?;
    stream.close().await?;
    Ok(offset)
}

/// Creates a file, and serves it to its own clients, all on this thread.
async fn serve_ourselves() -> Result<()> {
    const CLIENTS: usize = 4;
    let contents: Rc<[u8]> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
    let path = tempfile::NamedTempFile::new()?.into_temp_path();
    let file = File::open_with(&path, OFlags::WRONLY | OFlags::TRUNC).await?;
    let (written, _) = file.write_at(contents.clone(), 0).await;
    ensure!(written? == contents.len(), "a short write");
    file.sync_all().await?;
    file.close().await?;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    futures::spawn(serve(listener, path.to_path_buf().into()));
    let fetch = |_| futures::spawn(fetch(address));
    let clients: Vec<_> = (0..CLIENTS).map(fetch).collect();
    for client in clients {
        ensure!(client.await?? == *contents, "a client received other bytes");
    }
    println!("{CLIENTS} clients received all {} bytes of the file", contents.len());
    Ok(())
}

/// Receives everything that a server sends.
async fn fetch(address: SocketAddr) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect(address).await?;
    let (mut fetched, mut buf) = (Vec::new(), vec![0; BLOCK]);
    loop {
        let (read, filled) = stream.read(buf).await;
        match read? {
            0 => return Ok(fetched),
            n => fetched.extend_from_slice(&filled[..n]),
        }
        buf = filled;
    }
}

/// Runs an echo server, which does all its I/O through the ring.
async fn echo(listener: net::TcpListener) -> Result<()> {
    let listener = TcpListener::new(listener);
    loop {
        let (stream, _) = listener.accept().await?;
        futures::spawn(async move {
            if let Err(error) = echo_one(stream).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn echo_one(stream: TcpStream) -> io::Result<()> {
    let mut buf = vec![0; BLOCK];
    loop {
        let (read, filled) = stream.read(buf).await;
        let part = Part::new(filled, 0..read?);
        if part.range.is_empty() {
            stream.shutdown(Shutdown::Write).await?;
            return stream.close().await;
        }
        let (sent, part) = stream.write_all(part).await;
        sent?;
        buf = part.whole;
    }
}
