//! Calls under way: a slot each, from the call to the arrival of its reply.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use castoff_ports::{Call, CallCx, Failure, Process, Reply};

use super::{Core, Event};

pub(super) struct Slot {
    pub(super) call: Option<(CallCx, Call)>,
    pub(super) reply: Option<Result<Reply, Failure>>,
    pub(super) arrived: bool,
    pub(super) waiter: Option<u32>,
    /// Who works on the answer: dies with that process.
    pub(super) handler: Option<(Process, u32)>,
    pub(super) abandoned: bool,
}

impl Slot {
    pub(super) fn new(cx: CallCx, call: Call) -> Slot {
        Slot {
            call: Some((cx, call)),
            reply: None,
            arrived: false,
            waiter: None,
            handler: None,
            abandoned: false,
        }
    }
}

impl Core {
    pub(super) fn open(&self, slot: Slot) -> u32 {
        let mut slots = self.slots.borrow_mut();
        match self.free_slots.borrow_mut().pop() {
            Some(id) => {
                slots[id as usize] = Some(slot);
                id
            }
            None => {
                slots.push(Some(slot));
                slots.len() as u32 - 1
            }
        }
    }

    pub(super) fn free(&self, slot: u32) {
        self.slots.borrow_mut()[slot as usize] = None;
        self.free_slots.borrow_mut().push(slot);
    }

    /// The answer of this slot is known; it reaches the caller `back` later.
    pub(in crate::direct) fn answer(
        &self,
        slot: u32,
        result: Result<Reply, Failure>,
        back: (u32, u32),
    ) {
        {
            let mut slots = self.slots.borrow_mut();
            // A slot lives until its reply has arrived, so it is there.
            let Some(s) = slots[slot as usize].as_mut() else { return };
            if s.reply.is_some() {
                return;
            }
            s.reply = Some(result);
            s.handler = None;
        }
        self.at(self.now() + self.draw(back), Event::Reply(slot));
    }

    /// Names who works on the answer of this slot.
    pub(in crate::direct) fn handled_by(&self, slot: u32, process: Process) {
        let incarnation = self.life(process).incarnation;
        if let Some(s) = self.slots.borrow_mut()[slot as usize].as_mut() {
            s.handler = Some((process, incarnation));
        }
    }

    pub(super) fn reply(&self, slot: u32) {
        let waiter = {
            let mut slots = self.slots.borrow_mut();
            let Some(s) = slots[slot as usize].as_mut() else { return };
            s.arrived = true;
            if s.abandoned {
                drop(slots);
                self.free(slot);
                return;
            }
            s.waiter
        };
        if let Some(task) = waiter {
            self.ready.borrow_mut().push(task);
        }
    }
}

/// A call under way.
pub(in crate::direct) struct CallFuture {
    core: Rc<Core>,
    slot: u32,
}

impl CallFuture {
    pub(super) fn new(core: Rc<Core>, slot: u32) -> CallFuture {
        CallFuture { core, slot }
    }
}

impl Future for CallFuture {
    type Output = Result<Reply, Failure>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.core.slots.borrow_mut();
        // The slot is freed by this future alone, when it is dropped.
        let Some(slot) = slots[self.slot as usize].as_mut() else { return Poll::Pending };
        match slot.reply.take_if(|_| slot.arrived) {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waiter = Some(self.core.current.get());
                Poll::Pending
            }
        }
    }
}

impl Drop for CallFuture {
    fn drop(&mut self) {
        let arrived = match self.core.slots.borrow_mut()[self.slot as usize].as_mut() {
            Some(slot) => {
                slot.abandoned = true;
                slot.arrived
            }
            None => return,
        };
        if arrived {
            self.core.free(self.slot);
        }
    }
}
