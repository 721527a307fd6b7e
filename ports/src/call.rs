//! The sum of all operations, who calls, and the one trait that every binding implements.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use crate::plan::EnvironmentEvent;
use crate::runtime::LockScope;
use crate::trace::Note;
use crate::{
    Failure, Operation, RequestId, Secret, SimTime, cinder, host, iscsi, keystone, libvirt, nova,
    novadb, rpc, runtime,
};

macro_rules! systems {
    ($($(#[$doc:meta])* $system:ident($module:ident) = $name:literal),* $(,)?) => {
        /// Any operation on the outside.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Call { $($(#[$doc])* $system($module::Call),)* }

        /// The reply to any operation.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Reply { $($(#[$doc])* $system($module::Reply),)* }

        impl Call {
            /// The operation's name, `system::Operation`.
            pub fn name(&self) -> &'static str {
                match self { $(Call::$system(c) => c.name(),)* }
            }
            /// The system that is called.
            pub fn system(&self) -> &'static str {
                match self { $(Call::$system(_) => $name,)* }
            }
            /// The call in its owner's words, secrets masked.
            pub fn describe(&self) -> String {
                match self { $(Call::$system(c) => c.describe(),)* }
            }
        }

        /// The names of all operations, system by system.
        pub fn operation_names() -> impl Iterator<Item = &'static str> {
            [$($module::NAMES),*].into_iter().flatten().copied()
        }
    };
}

systems! {
    /// Keystone.
    Keystone(keystone) = "keystone",
    /// nova-api.
    Nova(nova) = "nova-api",
    /// Nova's database.
    NovaDb(novadb) = "nova-db",
    /// The message broker.
    Rpc(rpc) = "broker",
    /// Cinder.
    Cinder(cinder) = "cinder",
    /// libvirtd and QEMU.
    Libvirt(libvirt) = "libvirt",
    /// open-iscsi.
    Iscsi(iscsi) = "iscsi",
    /// The compute host's kernel.
    Host(host) = "host",
    /// Time and locks.
    Runtime(runtime) = "runtime",
}

/// A process of the pipeline: what a crash takes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// A user's client.
    Client,
    /// nova-api (and the conductor's steps, which run in it here).
    NovaApi,
    /// nova-compute.
    NovaCompute,
}

impl Process {
    /// The process's name in traces and plans.
    pub fn as_str(self) -> &'static str {
        match self {
            Process::Client => "client",
            Process::NovaApi => "nova-api",
            Process::NovaCompute => "nova-compute",
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a call to an HTTP service carries: X-Auth-Token and X-Service-Token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Auth {
    /// The user's token.
    pub token: Option<Secret>,
    /// The calling service's own token, sent with `send_service_user_token`.
    pub service_token: Option<Secret>,
}

/// Who asks: names a fault point for good, and says what a crash releases.
#[derive(Clone, Debug, PartialEq)]
pub struct CallCx {
    /// The calling process.
    pub process: Process,
    /// How often that process has been started, from 0.
    pub incarnation: u32,
    /// The user's request that this call serves.
    pub request: RequestId,
    /// Tokens for HTTP services.
    pub auth: Auth,
    /// When the caller stops waiting for the reply, if it does.
    pub deadline: Option<SimTime>,
}

/// What the pipeline is bound to: models in process, models over a network, or real systems.
pub trait Binding {
    /// Carries out one operation. Dropping the future does not undo the effect.
    fn call<'a>(&'a self, cx: &'a CallCx, call: Call)
    -> LocalBoxFuture<'a, Result<Reply, Failure>>;

    /// The time now: of the caller's monotonic clock.
    fn now(&self) -> SimTime;

    /// Takes note of where the pipeline stands; for the trace only.
    fn note(&self, _cx: &CallCx, _note: Note) {}

    /// Kills the calling process here and now; the caller never runs again. `restart_after` says
    /// when it is started again, if ever.
    fn crash(&self, _cx: &CallCx, _restart_after: Option<Duration>) {}

    /// Something happens to the systems outside. A binding to real systems does nothing of the
    /// kind by itself.
    fn environment(&self, _event: EnvironmentEvent) {}

    /// The way between a process and a system is cut until then. A binding with a network of its own
    /// keeps back what is under way there too; new calls wait in the fault layer on every binding.
    fn cut_off(&self, _process: Process, _system: &'static str, _until: SimTime) {}

    /// A fault lasts until then: before, a simulation does not take stillness for the end.
    fn lasts_until(&self, _at: SimTime) {}
}

/// A caller's handle on the outside: a binding and who is calling.
#[derive(Clone)]
pub struct Port {
    binding: Rc<dyn Binding>,
    /// Who is calling.
    pub cx: CallCx,
}

impl Port {
    /// A handle for this caller.
    pub fn new(binding: Rc<dyn Binding>, cx: CallCx) -> Self {
        Port { binding, cx }
    }

    /// The same caller with other tokens.
    pub fn with_auth(&self, auth: Auth) -> Port {
        Port { binding: self.binding.clone(), cx: CallCx { auth, ..self.cx.clone() } }
    }

    /// Carries out one operation.
    ///
    /// # Panics
    /// When a binding answers one operation with another's reply: a bug of ours.
    pub async fn call<O: Operation>(&self, op: O) -> Result<O::Reply, Failure> {
        let reply = self.binding.call(&self.cx, op.into_call()).await?;
        match O::from_reply(reply) {
            Some(reply) => Ok(reply),
            None => panic!("binding answered {} with another operation's reply", O::NAME),
        }
    }

    /// The time now.
    pub fn now(&self) -> SimTime {
        self.binding.now()
    }

    /// Takes note of where the pipeline stands.
    pub fn note(&self, note: Note) {
        self.binding.note(&self.cx, note);
    }

    /// Sleeps.
    pub async fn sleep(&self, duration: Duration) -> Result<(), Failure> {
        self.call(runtime::Sleep { duration }).await
    }

    /// Runs `body` with a lock held; the lock is given back whatever comes of it.
    ///
    /// A crash of the process in between releases nothing here: the model (or the kernel) does.
    pub async fn locked<T, E: From<Failure>>(
        &self,
        name: &str,
        scope: LockScope,
        body: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.call(runtime::Lock { name: name.to_owned(), scope }).await?;
        let result = body.await;
        self.call(runtime::Unlock { name: name.to_owned(), scope }).await?;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let mut names: Vec<_> = operation_names().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.contains(&"cinder::BeginDetaching"));
    }
}
