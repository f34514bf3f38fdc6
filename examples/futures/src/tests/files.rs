//! Files, and buffers of every kind.

use std::io::ErrorKind;
use std::net;

use rustix_uring::Errno;
use rustix_uring::types::OFlags;

use super::{connection, errno, file_of, open_at, run};
use crate::buf::{FixedBufs, Part};
use crate::fs::File;
use crate::net::TcpStream;
use crate::start;

#[test]
fn a_file_is_written_and_read() {
    let path = file_of(b"");
    run(async move {
        let file = File::open_with(&path, OFlags::RDWR).await?;
        let (written, text) = file.write_at("seven bytes", 0).await;
        assert_eq!((written?, text), (11, "seven bytes"));
        let (written, _) = file.write_at(*b"SIX", 6).await;
        assert_eq!(written?, 3);
        file.sync_all().await?;

        // The read is short at the end of the file, and empty after it.
        let (read, buf) = file.read_at(vec![b'.'; 8], 6).await;
        assert_eq!((read?, &buf[..]), (5, &b"SIXes..."[..]));
        let (read, _) = file.read_at([0; 8], 11).await;
        assert_eq!(read?, 0);
        // An array moves into the state, where the kernel writes to it, and back.
        let (read, part) = file.read_at(Part::new([0; 8], 2..4), 0).await;
        assert_eq!((read?, part.whole), (2, *b"\0\0se\0\0\0\0"));
        let (read, _) = file.read_at(Vec::new(), 0).await;
        assert_eq!(read?, 0);

        file.close().await?;
        assert_eq!(std::fs::read(&path)?, b"seven SIXes");
        assert_eq!(open_at(&path), 0);
        Ok(())
    });
}

#[test]
fn several_buffers_at_once() {
    let path = file_of(b"");
    run(async move {
        let file = File::open_with(&path, OFlags::RDWR).await?;
        let (written, texts) = file.writev_at(vec!["abc", "", "defgh"], 2).await;
        assert_eq!((written?, texts), (8, vec!["abc", "", "defgh"]));
        // Arrays store their bytes inline, so the kernel writes into the vector itself.
        let (read, arrays) = file.readv_at(vec![[b'.'; 4]; 3], 0).await;
        assert_eq!((read?, arrays), (10, vec![*b"\0\0ab", *b"cdef", *b"gh.."]));
        assert_eq!(file.readv_at(Vec::<Vec<u8>>::new(), 0).await.0?, 0);
        // These are more buffers than the kernel accepts.
        let (read, bufs) = file.readv_at(vec![[0; 1]; 1025], 0).await;
        assert_eq!((errno(read), bufs.len()), (Some(Errno::INVAL), 1025));
        Ok(())
    });
}

#[test]
fn registered_buffers() {
    let path = file_of(b"some text");
    run(async move {
        let file = File::open_with(&path, OFlags::RDWR).await?;
        let bufs = FixedBufs::register([vec![0; 16], vec![0; 16]])?;
        assert!(bufs.take(2).is_none());
        let buf = bufs.take(1).expect("it is there");
        assert!(bufs.take(1).is_none(), "the buffer is already taken");

        let (read, buf) = file.read_fixed_at(buf, 5).await;
        assert_eq!((read?, &buf[..5]), (4, &b"text\0"[..]));
        let (written, part) = file.write_fixed_at(Part::new(buf, 0..4), 0).await;
        assert_eq!(written?, 4);
        drop(part);
        let mut buf = bufs.take(1).expect("it is back");
        assert_eq!(&buf[..4], b"text");
        buf[..4].copy_from_slice(b"more");

        // A registered buffer also works with ordinary operations.
        let (written, buf) = file.write_at(buf, 5).await;
        assert_eq!(written?, 16);
        let (stream, ours) = connection()?;
        let sent = stream.write_fixed(Part::new(buf, 0..4)).await.0;
        assert_eq!(sent?, 4);
        let ours = TcpStream::new(ours);
        let (read, buf) = ours.read_fixed(bufs.take(0).expect("it is there")).await;
        assert_eq!((read?, &buf[..4]), (4, &b"more"[..]));
        assert_eq!(std::fs::read(&path)?, b"text more\0\0\0\0\0\0\0\0\0\0\0\0");

        // Only one registration can exist. It ends when its last buffer is dropped.
        let again = || FixedBufs::register([vec![0; 1]]).map(drop);
        assert_eq!(errno(again()), Some(Errno::BUSY));
        drop(bufs);
        assert_eq!(errno(again()), Some(Errno::BUSY));
        drop(buf);
        again()?;
        assert_eq!(errno(FixedBufs::register([]).map(drop)), Some(Errno::INVAL));
        assert_eq!(errno(FixedBufs::register([vec![]]).map(drop)), Some(Errno::FAULT));
        Ok(())
    });
}

/// The index of a buffer would name another buffer on another ring.
#[test]
fn a_registered_buffer_is_of_one_ring() {
    let path = file_of(b"text");
    let bufs = start(async { FixedBufs::register([vec![0; 16]]).unwrap() });
    let buf = bufs.take(0).unwrap();
    run(async {
        let _others = FixedBufs::register([vec![0; 16]])?;
        let file = File::open_with(&path, OFlags::RDWR).await?;
        let (read, buf) = file.read_fixed_at(buf, 0).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidInput);
        let (written, _) = file.write_fixed_at(Part::new(buf, 0..4), 0).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::InvalidInput);
        Ok(())
    });
    assert!(bufs.take(0).is_some());
}

#[test]
fn errors_bring_the_buffer_back() {
    let path = file_of(b"text");
    run(async move {
        let file = File::open(&path).await?;
        let (written, buf) = file.write_at(String::from("text"), 0).await;
        assert_eq!((errno(written), &buf[..]), (Some(Errno::BADF), "text"));
        assert_eq!(errno(File::open(path.join("none")).await.map(drop)), Some(Errno::NOTDIR));
        let nul = File::open("a\0b").await.map(drop);
        assert_eq!(nul.unwrap_err().kind(), ErrorKind::InvalidInput);

        let refused = net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let refused = TcpStream::connect(refused).await.map(drop);
        assert_eq!(errno(refused), Some(Errno::CONNREFUSED));
        let (stream, ours) = connection()?;
        drop(ours);
        let (sent, buf) = stream.write_all(vec![0; 32 << 20]).await;
        assert!(matches!(errno(sent), Some(Errno::PIPE | Errno::CONNRESET)));
        assert_eq!(buf.len(), 32 << 20);
        Ok(())
    });
}
