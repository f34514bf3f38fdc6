//! The kinds of work, and the objects that they work on.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Result, ensure};
use fastrand::Rng;
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::pipe;
use rustix_uring::opcode::*;
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{Fd, FileSlot, Fixed, PollFlags, Timespec, iovec};
use rustix_uring::{BufRing, BufRingFlags, Errno, Handle, IoUring, Probe, Submitter, cqueue};

use crate::tracker::{Expect, Tracker};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Nops,
    File,
    FixedFile,
    Pipe,
    Socket,
    Poll,
    PollMulti,
    Timeout,
    LinkTimeout,
    Chain,
    Drain,
    Stream,
    Message,
}

impl Work {
    /// Whether some operation of this work ends only because of another operation.
    pub(crate) fn is_endless(self) -> bool {
        match self {
            Self::Poll | Self::PollMulti | Self::Timeout | Self::LinkTimeout | Self::Stream => true,
            Self::Nops | Self::File | Self::FixedFile | Self::Pipe | Self::Socket => false,
            Self::Chain | Self::Drain | Self::Message => false,
        }
    }
}

/// All kinds of work, each with its newest operation.
const WORKS: &[(Work, u8)] = &[
    (Work::Nops, Nop::CODE),
    (Work::File, Read::CODE),
    (Work::FixedFile, ReadFixed::CODE),
    (Work::Pipe, Write::CODE),
    (Work::Socket, Send::CODE),
    (Work::Poll, PollRemove::CODE),
    (Work::PollMulti, AsyncCancel::CODE),
    (Work::Timeout, TimeoutRemove::CODE),
    (Work::LinkTimeout, LinkTimeout::CODE),
    (Work::Chain, Read::CODE),
    (Work::Drain, Nop::CODE),
    // Kernels with this operation also have buffer rings, and multishot receives of 6.0.
    (Work::Stream, SendZc::CODE),
    (Work::Message, MsgRingData::CODE),
];

static HOUR: Timespec = Timespec::new().sec(3600);
static AT_ONCE: Timespec = Timespec::new().nsec(1);

/// The number of words in the file.
const FILE: u64 = 1 << 16;
/// The word that goes through the pipe and the sockets.
const WORD: u64 = u64::from_be_bytes(*b"soaking!");
/// The provided buffers: their number and length.
const BUFFERS: u16 = 16;
const BUFFER: usize = 64;
const GROUP: u16 = 3;
const BAD: Fd = Fd(i32::MAX);

/// The objects that the operations use.
pub(crate) struct World {
    file: File,
    pipe: (OwnedFd, OwnedFd),
    /// A pipe that is never written to.
    empty: (OwnedFd, OwnedFd),
    sockets: (UnixStream, UnixStream),
    event: OwnedFd,
    stream: Stream,
    /// Multishot operations, some of which may have ended.
    multishot: Vec<u64>,
    /// The ring that receives the messages.
    other: IoUring,
    pub(crate) peer: Tracker,
}

/// Words that go through a pair of sockets in order, with a multishot receive.
struct Stream {
    sockets: (UnixStream, UnixStream),
    ring: Option<BufRing>,
    buffers: Box<[[u8; BUFFER]]>,
    armed: Option<u64>,
    sent: u64,
    received: u64,
}

impl World {
    /// Creates the objects. Also returns the kinds of work that the kernel supports.
    pub(crate) fn new<H: Handle>(
        ring: &Submitter<'_, H>,
        tracker: &Tracker,
    ) -> Result<(Self, Vec<Work>)> {
        let mut file = tempfile::tempfile()?;
        let words: Vec<u8> = (0..FILE).flat_map(|n| word_at(n).to_ne_bytes()).collect();
        file.write_all(&words)?;
        let words = tracker.words();
        let words =
            iovec { iov_base: words.as_ptr().cast_mut().cast(), iov_len: size_of_val(words) as _ };
        // SAFETY: the words live as long as the tracker, which outlives every operation that uses
        // them.
        unsafe { ring.register_buffers(&[words]) }?;
        ring.register_files(&[FileSlot::new(&file)])?;

        let mut probe = Probe::new();
        ring.register_probe(&mut probe)?;
        let works: Vec<_> = WORKS
            .iter()
            .filter(|(_, code)| probe.is_supported(*code))
            .map(|(work, _)| *work)
            .collect();
        let mut stream = Stream {
            sockets: UnixStream::pair()?,
            ring: None,
            buffers: vec![[0; BUFFER]; usize::from(BUFFERS)].into(),
            armed: None,
            sent: 0,
            received: 0,
        };
        if works.contains(&Work::Stream) {
            stream.provide(ring)?;
        }
        let world = Self {
            file,
            pipe: pipe()?,
            empty: pipe()?,
            sockets: UnixStream::pair()?,
            event: eventfd(0, EventfdFlags::empty())?,
            stream,
            multishot: Vec::new(),
            other: IoUring::new(256)?,
            peer: Tracker::new(),
        };
        Ok((world, works))
    }

    /// Begins some work with at most `room` entries.
    pub(crate) fn begin(
        &mut self,
        work: Work,
        tracker: &mut Tracker,
        dice: &mut Rng,
        room: usize,
        entries: &mut Vec<Entry>,
    ) {
        let mut add = |entry: Entry, expects| {
            let user_data = tracker.begin(expects, 0);
            entries.push(entry.user_data(user_data));
            user_data
        };
        match work {
            Work::Nops => {
                for _ in 0..dice.usize(1..=room.min(64)) {
                    let flags = if dice.u16(..) == 0 { Flags::ASYNC } else { Flags::empty() };
                    add(Nop::new().build().flags(flags), Expect::Result(0));
                }
            }
            Work::File | Work::FixedFile => {
                let at = dice.u64(..FILE);
                let (expects, word) = (Expect::Word(word_at(at)), word_at(at));
                let write = dice.bool();
                // The file already contains what is written, so that concurrent reads see the right
                // data.
                let user_data = tracker.begin(expects, if write { word } else { 0 });
                let buf = tracker.word(user_data).cast::<u8>();
                let (fd, slot, offset) = (self.file.as_fd(), Fixed(0), 8 * at);
                let entry = match (work, write) {
                    (Work::File, false) => Read::new(fd, buf, 8).offset(offset).build(),
                    (Work::File, true) => Write::new(fd, buf, 8).offset(offset).build(),
                    (_, false) => ReadFixed::new(slot, buf, 8, 0).offset(offset).build(),
                    (_, true) => WriteFixed::new(slot, buf, 8, 0).offset(offset).build(),
                };
                entries.push(entry.user_data(user_data));
            }
            Work::Pipe | Work::Socket => {
                let into = tracker.begin(Expect::Word(WORD), WORD);
                let out = tracker.begin(Expect::Word(WORD), 0);
                let (from, to) = (tracker.word(into).cast::<u8>(), tracker.word(out).cast::<u8>());
                let (write, read) = if work == Work::Pipe {
                    (
                        Write::new(&self.pipe.1, from, 8).build(),
                        Read::new(&self.pipe.0, to, 8).build(),
                    )
                } else {
                    let (one, other) = (self.sockets.0.as_fd(), self.sockets.1.as_fd());
                    (Send::new(one, from, 8).build(), Recv::new(other, to, 8).build())
                };
                entries.push(write.flags(Flags::IO_LINK).user_data(into));
                entries.push(read.user_data(out));
            }
            Work::Poll => {
                let poll = PollAdd::new(&self.empty.0, PollFlags::IN).build();
                let poll = add(poll, Expect::Errno(Errno::CANCELED));
                add(PollRemove::new(poll).build(), Expect::Result(0));
                let ready = PollFlags::OUT;
                let poll = PollAdd::new(&self.empty.1, ready).build();
                add(poll, Expect::Result(ready.bits() as i32));
            }
            Work::PollMulti => {
                let poll = PollAdd::new(&self.event, PollFlags::IN).multi(true).build();
                let poll = add(poll, Expect::Multishot);
                let signal = tracker.begin(Expect::Word(1), 1);
                let one = tracker.word(signal).cast::<u8>();
                entries.push(Write::new(&self.event, one, 8).build().user_data(signal));
                let cancel = tracker.begin(Expect::Settled(Errno::NOENT), 0);
                entries.push(AsyncCancel::new(poll).build().user_data(cancel));
                self.multishot.push(poll);
            }
            Work::Timeout => {
                let timeout = add(Timeout::new(&HOUR).build(), Expect::Errno(Errno::CANCELED));
                add(TimeoutRemove::new(timeout).build(), Expect::Result(0));
                add(Timeout::new(&AT_ONCE).build(), Expect::Errno(Errno::TIME));
            }
            Work::LinkTimeout => {
                let read = tracker.begin(Expect::Errno(Errno::CANCELED), 0);
                let buf = tracker.word(read).cast::<u8>();
                let entry = Read::new(&self.empty.0, buf, 8).build();
                entries.push(entry.flags(Flags::IO_LINK).user_data(read));
                let limit = tracker.begin(Expect::Errno(Errno::TIME), 0);
                entries.push(LinkTimeout::new(&AT_ONCE).build().user_data(limit));
            }
            Work::Chain => {
                let (link, end) = match dice.bool() {
                    true => (Flags::IO_LINK, Expect::Errno(Errno::CANCELED)),
                    false => (Flags::IO_HARDLINK, Expect::Result(0)),
                };
                add(Nop::new().build().flags(link), Expect::Result(0));
                let read = tracker.begin(Expect::Errno(Errno::BADF), 0);
                let buf = tracker.word(read).cast::<u8>();
                entries.push(Read::new(BAD, buf, 8).build().flags(link).user_data(read));
                let last = tracker.begin(end, 0);
                entries.push(Nop::new().build().user_data(last));
            }
            Work::Drain => {
                add(Nop::new().build().flags(Flags::IO_DRAIN), Expect::Result(0));
            }
            Work::Stream => self.stream.begin(tracker, entries),
            Work::Message => {
                if !self.peer.has_room() {
                    return;
                }
                let len = dice.i32(0..=i32::MAX);
                let message = self.peer.begin(Expect::Result(len), 0);
                let fd = Fd(self.other.as_raw_fd());
                add(MsgRingData::new(fd, len, message, None).build(), Expect::Result(0));
            }
        }
    }

    /// Handles an expected completion.
    pub(crate) fn note(&mut self, cqe: &cqueue::Entry) -> Result<()> {
        self.stream.note(cqe)
    }

    /// Checks the messages that the other ring received.
    pub(crate) fn look(&mut self) -> Result<()> {
        // Messages that overflowed arrive only on request.
        self.other.submit()?;
        for cqe in self.other.completion() {
            self.peer.settle(&cqe)?;
        }
        Ok(())
    }

    /// Whether words of the stream are still under way.
    pub(crate) fn behind(&self) -> bool {
        self.stream.received < self.stream.sent
    }

    /// Starts a receive, unless one is running.
    pub(crate) fn receive(&mut self, tracker: &mut Tracker, entries: &mut Vec<Entry>) {
        if self.behind() {
            self.stream.arm(tracker, entries);
        }
    }

    /// Cancels operations that do not end otherwise.
    pub(crate) fn cancel(&mut self, tracker: &mut Tracker, entries: &mut Vec<Entry>) {
        self.multishot.retain(|&poll| tracker.is_in_flight(poll));
        for target in self.multishot.iter().copied().chain(self.stream.armed).take(4) {
            let user_data = tracker.begin(Expect::Settled(Errno::NOENT), 0);
            entries.push(AsyncCancel::new(target).build().user_data(user_data));
        }
    }
}

impl Stream {
    /// Registers the buffers, all of them empty.
    fn provide<H: Handle>(&mut self, submitter: &Submitter<'_, H>) -> Result<()> {
        let ring = submitter.register_buf_ring_mmap(BUFFERS, GROUP, BufRingFlags::empty());
        let mut ring = match ring {
            // Buffer rings in application-provided memory would work, but are not worth the effort
            // here.
            Err(Errno::INVAL) => return Ok(()),
            ring => ring?,
        };
        for (bid, buffer) in (0..).zip(&mut self.buffers) {
            // SAFETY: the buffers outlive every operation that uses them.
            unsafe { ring.add(buffer.as_mut_ptr(), BUFFER as u32, bid) };
        }
        ring.publish();
        self.ring = Some(ring);
        Ok(())
    }

    /// Starts a receive, unless one is running, and sends a word.
    fn begin(&mut self, tracker: &mut Tracker, entries: &mut Vec<Entry>) {
        if self.ring.is_none() {
            return;
        }
        self.arm(tracker, entries);
        // Limits the words under way: if a send had to wait, another one might overtake it.
        if self.sent - self.received < 32 {
            let word = word_at(self.sent);
            self.sent += 1;
            let user_data = tracker.begin(Expect::Word(word), word);
            let buf = tracker.word(user_data).cast::<u8>();
            entries.push(Send::new(self.sockets.0.as_fd(), buf, 8).build().user_data(user_data));
        }
    }

    fn arm(&mut self, tracker: &mut Tracker, entries: &mut Vec<Entry>) {
        if self.armed.is_none() {
            let user_data = tracker.begin(Expect::Multishot, 0);
            self.armed = Some(user_data);
            let receive = RecvMulti::new(self.sockets.1.as_fd(), GROUP).build();
            entries.push(receive.user_data(user_data));
        }
    }

    /// Checks that the received words are the next expected ones, and provides the buffer again.
    fn note(&mut self, cqe: &cqueue::Entry) -> Result<()> {
        if self.armed != Some(cqe.user_data()) {
            return Ok(());
        }
        if !cqe.more() {
            self.armed = None;
        }
        let (Some(bid), Some(ring)) = (cqe.buffer_select(), &mut self.ring) else { return Ok(()) };
        let buffer = &mut self.buffers[usize::from(bid)];
        let filled = &buffer[..cqe.to_result()? as usize];
        for bytes in filled.chunks(8) {
            let due = word_at(self.received).to_ne_bytes();
            ensure!(
                bytes == due,
                "word {} of the stream has the wrong content {bytes:x?}",
                self.received
            );
            self.received += 1;
        }
        // SAFETY: the buffers outlive every operation that uses them, and the kernel has released
        // this one.
        unsafe { ring.add(buffer.as_mut_ptr(), BUFFER as u32, bid) };
        ring.publish();
        Ok(())
    }
}

/// A sequence of words in which neighbors differ.
fn word_at(n: u64) -> u64 {
    n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
