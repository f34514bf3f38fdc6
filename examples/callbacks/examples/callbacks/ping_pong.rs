//! Two threads, a loop each, and messages from ring to ring.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use callbacks::{Context, Done, Errno, Handle, Loop, Mailbox, Message, Op, Outcome, Until};

/// What messages are about.
const PLAY: u32 = 1;
const OVER: u32 = 2;

pub(crate) struct Player {
    other: Mailbox,
    /// The number to end with.
    last: i32,
    received: Cell<u32>,
    failed: Cell<Option<Errno>>,
}

type Players<H> = Loop<Rc<Player>, H>;

impl Player {
    pub(crate) fn new(other: Mailbox, last: i32) -> Rc<Self> {
        Rc::new(Self { other, last, received: Cell::new(0), failed: Cell::new(None) })
    }

    /// Waits for messages, and returns how many came. The side that `begins` sends the first.
    pub(crate) fn play<H: Handle>(
        self: &Rc<Self>,
        on: &mut Players<H>,
        begins: bool,
    ) -> Result<u32, Errno> {
        on.listen(received, self.clone());
        if begins {
            self.send(on, Message { subject: PLAY, value: 0 });
        }
        on.run(Until::Stopped)?;
        self.failed.get().map_or(Ok(self.received.get()), Err)
    }

    fn send<H: Handle>(self: &Rc<Self>, on: &mut Players<H>, message: Message) {
        let context = Context { callback: sent, state: message.subject as u16, user: self.clone() };
        if on.start(Op::Message(self.other.clone(), message), context).is_err() {
            self.failed.set(Some(Errno::BUSY));
            on.stop();
        }
    }
}

fn received<H: Handle>(on: &mut Players<H>, player: &mut Rc<Player>, message: Message) {
    player.received.set(player.received.get() + 1);
    match message {
        Message { subject: PLAY, value } if value < player.last => {
            player.send(on, Message { subject: PLAY, value: value + 1 });
        }
        Message { subject: PLAY, value } => player.send(on, Message { subject: OVER, value }),
        _ => on.stop(),
    }
}

fn sent<H: Handle>(on: &mut Players<H>, done: Done<Rc<Player>>) {
    match done.outcome {
        Outcome::Message(Err(errno)) => done.user.failed.set(Some(errno)),
        _ if u32::from(done.state) == OVER => {}
        _ => return,
    }
    on.stop();
}

/// Has two threads send a number back and forth until it has grown to `last`. Says how many
/// messages each has got.
pub(crate) fn two_threads(last: i32) -> Result<(u32, u32), Errno> {
    let mut here = Loop::new(4)?;
    let here_is = here.mailbox()?;
    let (tell, told) = mpsc::channel();
    let there = thread::spawn(move || {
        let mut there = Loop::sharing_workers(&here_is, 4)?;
        tell.send(there.mailbox()?).map_err(|_| Errno::PIPE)?;
        Player::new(here_is, last).play(&mut there, false)
    });
    // If there is none, the other thread says why.
    let here_received = match told.recv() {
        Ok(there_is) => Player::new(there_is, last).play(&mut here, true),
        Err(_) => Ok(0),
    };
    let there_received = there.join().expect("no panic");
    Ok((here_received?, there_received?))
}
