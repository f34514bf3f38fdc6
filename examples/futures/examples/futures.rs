//! Files through a ring in a tokio runtime: to the standard output, or to everyone who connects.

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

/// Files through a ring in a tokio runtime. Without a command, it serves itself a file.
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
    /// Send a file to everyone who connects, until ctrl-c.
    Serve {
        file: PathBuf,
        /// Where to listen; port 0 is any free one.
        #[arg(default_value = "127.0.0.1:7777")]
        address: SocketAddr,
    },
    /// Send everyone back what they send, until ctrl-c.
    Echo {
        /// Where to listen; port 0 is any free one.
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
    ran.context("the ring fails")?
}

/// Stopping a server takes no more than to drop it: the runtime sees to what is in flight.
async fn until_interrupted(server: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        stopped = server => stopped,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

/// How much is read at a time, in bytes.
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
                ensure!(written > 0, "cannot write: it takes no more");
                rest.range.start += written;
            }
            buf = rest.whole;
        }
        file.close().await.with_context(cannot)?;
    }
    Ok(())
}

/// Accepts connections with tokio, and sends the file to each in a task of its own.
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

/// Sends a file, and returns how long it was.
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

/// Makes a file, and serves it to clients of our own, all on this thread.
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
        ensure!(client.await?? == *contents, "a client got something else");
    }
    println!("{CLIENTS} clients got the {} bytes that are in the file", contents.len());
    Ok(())
}

/// Receives all that a server sends.
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

/// Sends everyone back what they have sent, on the ring alone, until ctrl-c.
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
