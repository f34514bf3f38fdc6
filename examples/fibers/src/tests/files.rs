//! Files and connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, Shutdown};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::{env, fs};

use rustix_uring::Errno;

use super::{MOMENT, loopback, pair, run};
use crate::fiber::{scope, sleep, yield_now};
use crate::fs::File;
use crate::net::{TcpListener, TcpStream};
use crate::scheduler::with;

/// Returns bytes in which no two neighboring KiB are equal.
fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut bytes);
    bytes
}

/// Returns an address for tests that bind the same port twice. No other test uses this IP address, so
/// none can take the port in between.
fn free_of_others(test: u8) -> net::SocketAddr {
    ([127, 0, 1, test], 0).into()
}

#[test]
fn copy_works_between_halves_in_both_directions_at_once() {
    let original = bytes(3_000_000);
    run(|| {
        let (near, far) = pair();
        let (mut reader, mut writer) = near.split();
        scope(|scope| {
            scope.spawn(|| {
                let (mut reader, mut writer) = far.split();
                assert_eq!(io::copy(&mut reader, &mut writer).unwrap(), 3_000_000);
                far.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(|| {
                assert_eq!(io::copy(&mut &original[..], &mut writer).unwrap(), 3_000_000);
                near.shutdown(Shutdown::Write).unwrap();
            });
            let mut back = Vec::new();
            reader.read_to_end(&mut back).unwrap();
            assert!(back == original);
        });
    });
}

#[test]
fn short_reads_and_the_end() {
    run(|| {
        let (mut near, mut far) = pair();
        scope(|scope| {
            scope.spawn(move || {
                for byte in 0..10 {
                    far.write_all(&[byte]).unwrap();
                    yield_now();
                }
            });
            let mut all = [0xff; 10];
            near.read_exact(&mut all).unwrap();
            assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
            assert_eq!(near.read(&mut [0]).unwrap(), 0);
            assert_eq!(near.read_exact(&mut [0]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
            assert_eq!(near.read(&mut []).unwrap(), 0);
        });
    });
}

#[test]
fn errors_are_those_of_std() {
    run(|| {
        // If you close a connection with unread data, it is reset.
        let (mut near, far) = pair();
        near.write_all(b"unread").unwrap();
        drop(far);
        assert_eq!(near.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(near.write(b"nobody").unwrap_err().kind(), ErrorKind::BrokenPipe);

        let taken = TcpListener::bind(free_of_others(1)).unwrap();
        let address = taken.local_addr().unwrap();
        let again = TcpListener::bind(address).err().unwrap();
        assert_eq!(again.kind(), ErrorKind::AddrInUse);
        drop(taken);
        let refused = TcpStream::connect(address).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        assert_eq!(File::open("/missing").err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(File::open("a\0b").err().unwrap().kind(), ErrorKind::InvalidInput);
        let mut directory = File::open("/").unwrap();
        assert_eq!(directory.read(&mut [0]).unwrap_err().kind(), ErrorKind::IsADirectory);
    });
}

#[test]
fn an_address_is_free_again_after_its_server() {
    run(|| {
        let listener = TcpListener::bind(free_of_others(2)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        // The side that closes first keeps the address busy for a while.
        drop(listener.accept().unwrap());
        drop((client, listener));
        TcpListener::bind(address).unwrap();
    });
}

#[test]
fn both_families_and_strangers() {
    run(|| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            if let Err(error) = net::TcpListener::bind(address) {
                println!("skipped: {address}: {error}");
                continue;
            }
            let listener = TcpListener::bind(address).unwrap();
            let mut stranger = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut accepted = listener.incoming().next().unwrap().0;
            accepted.write_all(address.as_bytes()).unwrap();
            drop(accepted);
            let mut text = String::new();
            stranger.read_to_string(&mut text).unwrap();
            assert_eq!(text, address);
        }
    });
}

#[test]
fn shutdown_ends_another_read() {
    run(|| {
        let (near, _far) = pair();
        scope(|scope| {
            let reading = scope.spawn(|| (&near).read(&mut [0]));
            sleep(MOMENT).unwrap();
            near.shutdown(Shutdown::Read).unwrap();
            assert_eq!(reading.join().unwrap().unwrap(), 0);
        });
    });
}

#[test]
fn files_are_read_from_their_position_and_from_any() {
    let path = env::current_exe().unwrap();
    let expected = fs::read(&path).unwrap();
    run(|| {
        let mut file = File::open(&path).unwrap();
        let mut start = [0; 100];
        file.read_exact(&mut start).unwrap();
        assert_eq!(start, expected[..100]);
        assert_eq!(file.read_at(&mut start, 1000).unwrap(), 100);
        assert_eq!(start, expected[1000..1100]);
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).unwrap();
        assert!(rest == expected[100..]);
        assert_eq!(file.read_at(&mut start, expected.len() as u64).unwrap(), 0);
        assert!(!file.read_at(&mut start, u64::MAX).is_ok_and(|len| len > 0));
    });
}

#[test]
fn files_are_written_at_their_position_and_at_any() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written");
    run(|| {
        let mut file = File::create(&path).unwrap();
        file.write_all(&bytes(100_000)).unwrap();
        assert_eq!(file.write_at(b"in the middle", 500).unwrap(), 13);
        file.sync_all().unwrap();
        let reading = file.read(&mut [0]).unwrap_err();
        assert_eq!(reading.raw_os_error(), Some(Errno::BADF.raw_os_error()));
        drop(file);
        let end = File::append(&path).unwrap();
        (&end).write_all(b"the end").unwrap();
        assert!(end.write_at(b"nowhere", u64::MAX).is_err());

        let mut expected = bytes(100_000);
        expected[500..513].copy_from_slice(b"in the middle");
        expected.extend(b"the end");
        let mut back = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == expected);
        File::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(File::create(folder.path()).err().unwrap().kind(), ErrorKind::IsADirectory);
    });
}

#[test]
fn addresses_are_what_std_takes() {
    run(|| {
        let nobody: net::SocketAddr = ([203, 0, 113, 1], 0).into();
        let listener = TcpListener::bind(&[nobody, loopback()][..]).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = listener.local_addr().unwrap();
        assert_eq!(TcpListener::bind(taken).err().unwrap().kind(), ErrorKind::AddrInUse);
        for client in [
            TcpStream::connect(("127.0.0.1", port)),
            TcpStream::connect(format!("127.0.0.1:{port}")),
            // No socket listens at the first address.
            TcpStream::connect(&[([127, 0, 0, 1], 1).into(), taken][..]),
        ] {
            let client = client.unwrap();
            let (accepted, peer) = listener.incoming().next().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(peer, accepted.peer_addr().unwrap());
        }
        let none: [net::SocketAddr; 0] = [];
        assert_eq!(TcpStream::connect(&none[..]).err().unwrap().kind(), ErrorKind::InvalidInput);
        assert!(TcpListener::bind("no port").is_err());
    });
}

#[test]
fn without_the_operations_std_binds_and_listens() {
    run(|| {
        with(|it| it.listens = Some(false));
        let (mut near, mut far) = pair();
        near.write_all(b"old").unwrap();
        let mut buf = [0; 3];
        far.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"old");
    });
}

#[test]
fn one_fiber_reads_a_pipe_while_another_runs() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = File::from(OwnedFd::from(ours));
        scope(|scope| {
            let reading = scope.spawn(move || {
                let mut text = String::new();
                ours.read_to_string(&mut text).map(|_| text)
            });
            for part in ["in ", "two ", "parts"] {
                sleep(MOMENT).unwrap();
                theirs.write_all(part.as_bytes()).unwrap();
            }
            drop(theirs);
            assert_eq!(reading.join().unwrap().unwrap(), "in two parts");
        });
    });
}
