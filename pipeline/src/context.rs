//! What every station is given: the process it runs in and the handle on the outside.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use castoff_ports::keystone::CreateToken;
use castoff_ports::trace::Note;
use castoff_ports::{BdmId, Failure, Operation, Port, RequestId, Secret, SimTime};

use crate::conf::Conf;
use crate::policy::Policy;

/// keystoneauth renews a token this long before it expires (`STALE_TOKEN_DURATION`).
const STALE_TOKEN: std::time::Duration = std::time::Duration::from_secs(30);

/// One incarnation of a nova process: what a restart forgets.
pub struct NovaProcess {
    conf: Rc<Conf>,
    /// nova's own token, until near its expiry.
    service_token: RefCell<Option<(Secret, SimTime)>>,
    /// os-brick's ISCSI_SUPPORTS_MANUAL_SCAN.
    manual_scan: Cell<bool>,
    /// Volumes and servers that the reconciler's last pass found at work and nobody's.
    deserted: RefCell<Vec<String>>,
    /// Messages that are being worked on: what of, and whose.
    working: RefCell<Vec<(String, RequestId)>>,
    /// Rows whose `volume.detach` went out, until they are destroyed.
    notified: RefCell<Vec<BdmId>>,
}

impl NovaProcess {
    /// A process that has just been started.
    pub fn new(conf: Rc<Conf>) -> NovaProcess {
        let manual_scan = Cell::new(conf.iscsiadm_manual_scan);
        NovaProcess {
            conf,
            service_token: RefCell::default(),
            manual_scan,
            deserted: RefCell::default(),
            working: RefCell::default(),
            notified: RefCell::default(),
        }
    }

    /// Its configuration.
    pub fn conf(&self) -> &Conf {
        &self.conf
    }

    /// Whether iscsid leaves scanning to os-brick, as far as this process knows.
    pub fn manual_scan(&self) -> bool {
        self.manual_scan.get()
    }

    /// False when this message is being worked on already.
    pub(crate) fn start_working(&self, message: (String, RequestId)) -> bool {
        let mut working = self.working.borrow_mut();
        let new = !working.contains(&message);
        if new {
            working.push(message);
        }
        new
    }

    /// The message is done with.
    pub(crate) fn stop_working(&self, message: &(String, RequestId)) {
        self.working.borrow_mut().retain(|m| m != message);
    }

    /// True the first time: this row's notification has not gone out yet.
    pub(crate) fn notify_once(&self, bdm: BdmId) -> bool {
        let mut notified = self.notified.borrow_mut();
        let first = !notified.contains(&bdm);
        if first {
            notified.push(bdm);
        }
        first
    }

    /// The row is gone.
    pub(crate) fn forget_notified(&self, bdm: BdmId) {
        self.notified.borrow_mut().retain(|b| *b != bdm);
    }

    /// Takes note of whether a volume or a server looks deserted; true when it did the last time too.
    pub(crate) fn seen_deserted(&self, what: &str, now: bool) -> bool {
        let mut deserted = self.deserted.borrow_mut();
        let before = deserted.iter().position(|v| v == what);
        match (before, now) {
            (None, true) => deserted.push(what.to_owned()),
            (Some(at), false) => {
                deserted.swap_remove(at);
            }
            (Some(_), true) | (None, false) => {}
        }
        before.is_some()
    }

    /// nova's own token may have been revoked: the next call asks for a new one.
    pub(crate) fn forget_service_token(&self) {
        self.service_token.replace(None);
    }

    /// What the last connect learnt about manual scans.
    pub(crate) fn set_manual_scan(&self, supported: bool) {
        self.manual_scan.set(supported);
    }
}

/// nova's RequestContext as far as stations need it: process and caller.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The process that runs the station.
    pub process: &'a NovaProcess,
    /// The outside, and in whose name it is called.
    pub port: &'a Port,
}

impl<'a> Context<'a> {
    /// A request in this process.
    pub fn new(process: &'a NovaProcess, port: &'a Port) -> Context<'a> {
        Context { process, port }
    }

    /// The port of another request, which this one works for.
    pub(crate) fn in_the_name_of(&self, request: RequestId) -> Port {
        let mut port = self.port.clone();
        port.cx.request = request;
        port
    }

    /// nova.conf.
    pub fn conf(&self) -> &'a Conf {
        &self.process.conf
    }

    /// The policy.
    pub fn policy(&self) -> &'a Policy {
        &self.process.conf.policy
    }

    /// Carries out one operation in the caller's name.
    pub async fn call<O: Operation>(&self, op: O) -> Result<O::Reply, Failure> {
        self.port.call(op).await
    }

    /// A station begins.
    pub fn station(&self, name: &'static str) {
        self.port.note(Note::Station(name));
    }

    /// A log line at level warning. For rare paths: its text is built whether anyone reads or not.
    pub fn warning(&self, text: String) {
        self.port.note(Note::Warning(text));
    }

    /// A log line at level error.
    pub fn error(&self, text: String) {
        self.port.note(Note::Error(text));
    }

    /// nova's own token for `X-Service-Token`, if it sends one; cached until near its expiry.
    pub async fn service_token(&self) -> Result<Option<Secret>, Failure> {
        let Some(user) = self.conf().service_user.as_ref().filter(|_| self.policy().service_token)
        else {
            return Ok(None);
        };
        if let Some((token, expires_at)) = &*self.process.service_token.borrow()
            && self.port.now() + STALE_TOKEN < *expires_at
        {
            return Ok(Some(token.clone()));
        }
        let issued = self
            .call(CreateToken {
                user: user.user.clone(),
                password: user.password.clone(),
                project: user.project.clone(),
            })
            .await?;
        let token = issued.token.clone();
        *self.process.service_token.borrow_mut() = Some((issued.token, issued.info.expires_at));
        Ok(Some(token))
    }
}
