//! No buffer is freed while the kernel may write to it. The tests combine each operation that a fiber
//! can wait for with each way to end the fiber, at several points in time.
//!
//! Freed memory and the stacks of ended fibers hold a pattern. The tests check the pattern after the
//! kernel has had a reason and the time to write.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use std::{env, fs, mem};

use rustix_uring::opcode;
use rustix_uring::squeue::Flags;
use rustix_uring::types::OFlags;

use super::{HOUR, freed, loopback, pair, panic_on_purpose, run};
use crate::fiber::{JoinHandle, is_cancellation, scope, sleep, spawn, yield_now};
use crate::fs::File;
use crate::net::{TcpListener, TcpStream};
use crate::ring::operate;
use crate::scheduler::with;

/// The objects that fibers wait for, and their other ends.
struct World {
    listener: TcpListener,
    near: TcpStream,
    far: TcpStream,
    pipe: (UnixStream, UnixStream),
}

impl World {
    fn new() -> Self {
        let (near, far) = pair();
        let pipe = UnixStream::pair().unwrap();
        Self { listener: TcpListener::bind(loopback()).unwrap(), near, far, pipe }
    }

    /// Makes every read and every accept complete.
    fn feed(&self) {
        (&self.far).write_all(&[0x77; 4096]).unwrap();
        (&self.pipe.1).write_all(&[0x77; 4096]).unwrap();
        drop(TcpStream::connect(self.listener.local_addr().unwrap()).unwrap());
    }
}

/// More bytes than the socket buffers of a connection hold.
static LONG: [u8; 16 << 20] = [0; 16 << 20];

/// What a fiber waits for.
type Wait = fn(&World) -> io::Result<()>;
const WAITS: &[(&str, Wait)] = &[
    ("a receive onto the stack", |world| {
        let mut buf = [0; 1024];
        (&world.near).read(&mut buf).map(drop)
    }),
    ("a receive into the heap", |world| {
        let mut buf = vec![0; 4096];
        (&world.near).read(&mut buf).map(drop)
    }),
    ("a read of a pipe onto the stack", |world| {
        let mut buf = [0; 1024];
        File::from(OwnedFd::from(world.pipe.0.try_clone()?)).read(&mut buf).map(drop)
    }),
    ("a read of a file into the heap", |_| {
        let mut buf = vec![0; 1 << 16];
        File::open("/proc/self/exe")?.read(&mut buf).map(drop)
    }),
    ("a direct read, which no cancellation finds", |_| {
        let mut buf = vec![0; (1 << 18) + 4096];
        let aligned = buf.as_ptr().align_offset(4096);
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECT.bits() as i32);
        match options.open(env::current_exe()?) {
            // Not every file system supports direct I/O.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            file => File::from(OwnedFd::from(file?)).read(&mut buf[aligned..][..1 << 18]).map(drop),
        }
    }),
    ("a receive of a worker's onto the stack", |world| {
        let mut buf = [0; 1024];
        let receive = opcode::Recv::new(world.pipe.0.as_fd(), buf.as_mut_ptr(), 1024);
        // SAFETY: the socket and the buffer live until this returns.
        unsafe { operate(receive.build().flags(Flags::ASYNC)) }?;
        Ok(())
    }),
    ("a send that finds no room", |world| (&world.near).write_all(&LONG)),
    ("an accept", |world| world.listener.accept().map(drop)),
    ("an hour", |_| sleep(HOUR)),
    ("a copy", |world| {
        let (mut reader, _) = world.near.split();
        io::copy(&mut reader, &mut io::sink()).map(drop)
    }),
    ("a write that finds no room", |world| {
        File::from(OwnedFd::from(world.pipe.0.try_clone()?)).write_all(&LONG)
    }),
    ("a write of a file from the heap", |_| {
        // A file without a name needs no cleanup.
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).custom_flags(OFlags::TMPFILE.bits() as i32);
        let file = File::from(OwnedFd::from(file.open(env::temp_dir())?));
        (&file).write_all(&vec![0x55; 1 << 16])?;
        file.sync_all()
    }),
    ("a connection", |world| {
        let near = TcpStream::connect(world.listener.local_addr()?)?;
        (&near).read(&mut [0; 64]).map(drop)
    }),
    ("a child without a scope", |world| {
        let mut ours = File::from(OwnedFd::from(world.pipe.0.try_clone()?));
        spawn(move || {
            let mut buf = vec![0; 512];
            ours.read(&mut buf).map(drop)
        })
        .join()
        .unwrap()
    }),
    ("a child, and in two scopes", |world| {
        let mut buf = [0; 512];
        scope(|outer| {
            outer.spawn(|| (&world.near).read(&mut buf));
            scope(|inner| {
                inner.spawn(|| {
                    let mut buf = vec![0; 512];
                    (&world.near).read(&mut buf)
                });
            });
        });
        Ok(())
    }),
];

/// How the test ends the fiber.
#[derive(Clone, Copy, Debug)]
enum End {
    Cancel,
    CancelTwice,
    DropHandle,
    ForgetHandle,
    ScopePanics,
    FiberPanics,
    /// The operation completes at the same time.
    Race,
    RaceBackwards,
}
const ENDS: [End; 8] = [
    End::Cancel,
    End::CancelTwice,
    End::DropHandle,
    End::ForgetHandle,
    End::ScopePanics,
    End::FiberPanics,
    End::Race,
    End::RaceBackwards,
];

/// How often the test yields before it ends the fiber.
const YIELDS: [usize; 5] = [0, 1, 2, 3, 10];

/// Waits, and then panics if the fiber should.
fn wait_to_the_end(world: &World, wait: Wait, end: End) {
    let result = wait(world);
    assert!(result.as_ref().err().is_none_or(is_cancellation), "{result:?}");
    if matches!(end, End::FiberPanics) {
        panic_on_purpose();
    }
}

impl End {
    /// Ends the fiber, from its parent.
    fn bring_about(self, fiber: JoinHandle<()>, world: &World) {
        match self {
            End::Cancel | End::FiberPanics => fiber.cancel(),
            End::CancelTwice => {
                fiber.cancel();
                yield_now();
                fiber.cancel();
            }
            End::DropHandle => drop(fiber),
            End::ForgetHandle => mem::forget(fiber),
            End::ScopePanics => panic_on_purpose(),
            End::Race => {
                world.feed();
                fiber.cancel();
            }
            End::RaceBackwards => {
                fiber.cancel();
                world.feed();
            }
        }
    }
}

fn end(world: &World, wait: Wait, end: End, yields: usize) {
    scope(|scope| {
        let fiber = scope.spawn(|| wait_to_the_end(world, wait, end));
        (0..yields).for_each(|_| yield_now());
        end.bring_about(fiber, world);
        scope.cancel();
    });
}

/// Same as [`end`], without a scope: it uses a fiber instead of the scope.
fn end_without_scope(world: &Rc<World>, wait: Wait, end: End, yields: usize) {
    let (world, over) = (world.clone(), Rc::new(Cell::new(false)));
    let is_over = over.clone();
    let parent = spawn(move || {
        let theirs = world.clone();
        let fiber = spawn(move || wait_to_the_end(&theirs, wait, end));
        (0..yields).for_each(|_| yield_now());
        end.bring_about(fiber, &world);
        over.set(true);
    });
    while !is_over.get() && !parent.is_finished() {
        yield_now();
    }
    parent.cancel();
    if let Err(panic) = parent.join() {
        panic::resume_unwind(panic);
    }
}

/// Waits until nothing is in flight, because cancellations take some time. Returns whether that succeeds.
fn nothing_is_in_flight() -> bool {
    (0..1000).any(|_| {
        sleep(Duration::from_millis(1)).unwrap();
        with(|it| it.in_flight) == 0
    })
}

#[test]
fn every_wait_is_ended_in_every_way_at_every_point() {
    for (name, wait) in WAITS {
        for (way, yields) in ENDS.into_iter().flat_map(|way| YIELDS.map(|yields| (way, yields))) {
            for scoped in [true, false] {
                let watch = freed::Watch::begin();
                run(|| {
                    let world = Rc::new(World::new());
                    let ended = catch_unwind(AssertUnwindSafe(|| match scoped {
                        true => end(&world, *wait, way, yields),
                        false => end_without_scope(&world, *wait, way, yields),
                    }));
                    let panics = matches!(way, End::ScopePanics | End::FiberPanics);
                    assert_eq!(ended.is_err(), panics, "{name}, {way:?} after {yields}");
                    // An operation that still waits writes to its memory now.
                    world.feed();
                    assert!(nothing_is_in_flight(), "{name}, {way:?} after {yields}");
                });
                watch.check();
            }
        }
    }
}

#[test]
fn many_are_ended_at_random() {
    for seed in 0..30 {
        let watch = freed::Watch::begin();
        let mut random = fastrand::Rng::with_seed(seed);
        run(|| {
            let worlds: Vec<_> = (0..20).map(|_| Rc::new(World::new())).collect();
            let ended = catch_unwind(AssertUnwindSafe(|| {
                scope(|scope| {
                    for world in &worlds {
                        let (_, wait) = WAITS[random.usize(..WAITS.len())];
                        let way = ENDS[random.usize(..ENDS.len())];
                        let yields = random.usize(..10);
                        let scoped = random.bool();
                        scope.spawn(move || match scoped {
                            true => end(world, wait, way, yields),
                            false => end_without_scope(world, wait, way, yields),
                        });
                        (0..random.usize(..3)).for_each(|_| yield_now());
                    }
                    if random.bool() {
                        panic_on_purpose();
                    }
                });
            }));
            drop(ended);
            worlds.iter().for_each(|world| world.feed());
            assert!(nothing_is_in_flight(), "seed {seed}");
        });
        watch.check();
    }
}
