//! Two threads with a ring each, which send messages to each other.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use callbacks::{
    Context, Handle, Mailbox, Message, OpResult, Ring, RingError, RunCondition, Task, Thread,
};

// The subjects of messages.
const PLAY: u32 = 1;
const OVER: u32 = 2;

/// The state of a player. The ring of a [`Thread`] starts without one.
pub(crate) type Player = Option<Rc<Playing>>;

pub(crate) struct Playing {
    other: Mailbox,
    /// The number at which the game ends.
    last: i32,
    received: Arc<AtomicU32>,
}

impl Playing {
    pub(crate) fn new(other: Mailbox, last: i32, received: Arc<AtomicU32>) -> Rc<Self> {
        Rc::new(Self { other, last, received })
    }

    /// Sends the first message, and answers messages until the game is over.
    pub(crate) fn play<H: Handle>(
        self: &Rc<Self>,
        ring: &mut Ring<Player, H>,
    ) -> Result<(), RingError> {
        ring.listen(received, Some(self.clone()));
        self.send(ring, Message { subject: PLAY, value: 0 })?;
        ring.run(RunCondition::UntilStopped)
    }

    fn send<H: Handle>(
        self: &Rc<Self>,
        ring: &mut Ring<Player, H>,
        message: Message,
    ) -> Result<(), RingError> {
        let context =
            Context { cb: sent, msg: message.subject as u16, userdata: Some(self.clone()) };
        ring.msg_ring(self.other.clone(), message, context)?;
        Ok(())
    }
}

fn received<H: Handle>(
    ring: &mut Ring<Player, H>,
    player: &mut Player,
    message: Message,
) -> Result<(), RingError> {
    let player = player.as_ref().expect("only a ring with a player listens");
    player.received.fetch_add(1, Ordering::Relaxed);
    match message {
        Message { subject: PLAY, value } if value < player.last => {
            player.send(ring, Message { subject: PLAY, value: value + 1 })
        }
        Message { subject: PLAY, value } => player.send(ring, Message { subject: OVER, value }),
        _ => {
            ring.stop();
            Ok(())
        }
    }
}

fn sent<H: Handle>(ring: &mut Ring<Player, H>, task: Task<Player>) -> Result<(), RingError> {
    if let OpResult::MsgRing(sent) = task.result {
        sent?;
    }
    if u32::from(task.msg) == OVER {
        ring.stop();
    }
    Ok(())
}

/// Runs two threads that send a number back and forth until it has reached `last`. Returns the number of
/// messages that each thread has received.
pub(crate) fn two_threads(last: i32) -> Result<(u32, u32), RingError> {
    let mut here = Ring::init(4)?;
    let here_is = here.mailbox()?;
    let (here_received, there_received) = <(Arc<AtomicU32>, Arc<AtomicU32>)>::default();
    let count = there_received.clone();
    let there = Thread::spawn(&mut here, 4, move |there: &mut Ring<Player>| {
        there.listen(received, Some(Playing::new(here_is, last, count)));
        Ok(())
    })?;
    let player = Playing::new(there.mailbox().clone(), last, here_received.clone());
    player.play(&mut here)?;
    there.join()?;
    Ok((here_received.load(Ordering::Relaxed), there_received.load(Ordering::Relaxed)))
}
