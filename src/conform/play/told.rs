//! What a case says of itself, while it is played and afterwards.

use castoff_ports::cinder::VolumeStatus;
use castoff_ports::novadb::EventResult;
use castoff_ports::trace::Event;
use castoff_ports::{InstanceId, RequestId, VolumeId};

use super::Play;
use crate::conform::recorded::Issued;

impl Play<'_> {
    /// How far the volumes have come.
    pub(in crate::conform) fn standing(&self) -> String {
        let each = self.volumes().into_iter().map(|n| {
            let status = self.status(n).map_or("missing", VolumeStatus::as_str);
            format!("volume {n} is {status}")
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// The trace of the case.
    pub(in crate::conform) fn events(&self) -> Vec<Event> {
        self.trace.take()
    }

    /// The volume's id.
    pub(in crate::conform) fn volume(&self, n: u8) -> VolumeId {
        self.stage.volume(n)
    }

    /// The server that it is attached to.
    pub(in crate::conform) fn server(&self, n: u8) -> InstanceId {
        if self.stage.is_others(n) { self.stage.other_id() } else { self.instance.clone() }
    }

    /// The case's volumes.
    pub(in crate::conform) fn volumes(&self) -> Vec<u8> {
        self.case.volumes()
    }

    /// The last DELETE's answer.
    pub(in crate::conform) fn answer(&self) -> u16 {
        self.answers.borrow().first().copied().unwrap_or_default()
    }

    /// The second DELETE's.
    pub(in crate::conform) fn second_answer(&self) -> u16 {
        self.answers.borrow().get(1).copied().unwrap_or_default()
    }

    /// How long the last detach took.
    pub(in crate::conform) fn took_ms(&self) -> u64 {
        self.ended.get().since(self.began.get()).as_millis() as u64
    }

    /// What the last detach issued.
    pub(in crate::conform) fn issued(&self) -> Vec<Issued> {
        let ended = self.ended.get();
        let issued = self.hybrid.host.issued(self.began.get()).into_iter();
        issued
            .filter(|(at, _)| *at <= ended)
            .map(|(at, text)| Issued { at_s: at.since_start().as_secs_f64(), text })
            .collect()
    }

    /// What the event of the last detach's action says.
    pub(in crate::conform) fn action_result(&self) -> String {
        let world = self.hybrid.world.borrow();
        let event = world.novadb.events().iter().rfind(|e| e.request == self.detach_request.get());
        match event.map(|e| e.result) {
            Some(Some(EventResult::Success)) => "Success".to_owned(),
            Some(Some(EventResult::Error)) => "Error".to_owned(),
            Some(None) => "nothing yet".to_owned(),
            None => "no event".to_owned(),
        }
    }

    /// The last DELETE's request.
    pub(in crate::conform) fn detach_request(&self) -> RequestId {
        self.detach_request.get()
    }
}
