//! The CPU time that futures take, beside those of the published tokio-uring.

use std::net::TcpListener;
use std::rc::Rc;

use anyhow::Result;
use figures::compare;
use figures::load::{
    AT_A_TIME, BLOCK, CONNECTIONS, MESSAGE, MESSAGES, READS, ROWS, cpu_of, echo, file, offset,
};
use futures::buf::Part;
use tokio_uring::buf::BoundedBuf as _;

fn main() -> Result<()> {
    compare(ROWS, &[("futures", ours), ("tokio-uring 0.5", theirs)])
}

/// The rows of one of the crates: they have the same shape, but for how a part of a buffer is written
/// and how a socket of the standard library is taken over.
macro_rules! rows {
    ($krate:ident, $adopt:ident, $part:expr, $whole:expr) => {{
        let path = &file()?.into_temp_path();
        let read = |tasks: u32| {
            cpu_of(READS, || {
                $krate::start(async {
                    let file = Rc::new($krate::fs::File::open(path).await?);
                    let task = |first: u32| {
                        let file = file.clone();
                        $krate::spawn(async move {
                            let mut buf = vec![0; BLOCK];
                            for n in (first..READS).step_by(tasks as usize) {
                                let (read, back) = file.read_at(buf, offset(n)).await;
                                assert_eq!(read.expect("it is there"), BLOCK);
                                buf = back;
                            }
                        })
                    };
                    let all: Vec<_> = (0..tasks).map(task).collect();
                    for task in all {
                        task.await?;
                    }
                    Ok(())
                })
            })
        };
        let serve = |listener: TcpListener, connections: usize| {
            $krate::start(async {
                let listener = $krate::net::TcpListener::$adopt(listener);
                let mut all = Vec::with_capacity(connections);
                for _ in 0..connections {
                    let (stream, _) = listener.accept().await?;
                    all.push($krate::spawn(async move {
                        let mut buf = vec![0; MESSAGE];
                        loop {
                            let (read, back) = stream.read(buf).await;
                            let read = read.expect("the client is there");
                            if read == 0 {
                                break;
                            }
                            let (sent, part) = stream.write_all($part(back, read)).await;
                            sent.expect("the client is there");
                            buf = $whole(part);
                        }
                    }));
                }
                for task in all {
                    task.await?;
                }
                Ok(())
            })
        };
        let mut rows = Vec::new();
        for tasks in AT_A_TIME {
            rows.push(read(tasks)?);
        }
        for connections in CONNECTIONS {
            rows.push(echo(connections, MESSAGES, serve)?);
        }
        Ok(rows)
    }};
}

fn ours() -> Result<Vec<f64>> {
    rows!(futures, new, |buf, len| Part::new(buf, 0..len), |part: Part<_>| part.whole)
}

fn theirs() -> Result<Vec<f64>> {
    rows!(
        tokio_uring,
        from_std,
        |buf: Vec<u8>, len| buf.slice(..len),
        |part: tokio_uring::buf::Slice<_>| part.into_inner()
    )
}
