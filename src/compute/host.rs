//! The host: libvirt, open-iscsi and the kernel, or none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use castoff_ports::{Call, CallCx, Failure, Refusal, Reply, SimTime, runtime};
#[cfg(feature = "real")]
use castoff_real::{RealConfig, RealHost};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::ComputeError;

/// Which host.
pub enum HostSettings {
    /// None: libvirt, open-iscsi and the kernel refuse every operation.
    None,
    /// This one, as far as it was named.
    #[cfg(feature = "real")]
    Real(RealConfig),
}

/// The host that a detach reaches.
pub(super) enum Host {
    None(NoHost),
    #[cfg(feature = "real")]
    Real(Box<RealHost>),
}

type Name = (runtime::LockScope, String);

/// Time and this process's locks, which every pipeline needs; nothing else.
pub(super) struct NoHost {
    started: Instant,
    queues: RefCell<BTreeMap<Name, Arc<Mutex<()>>>>,
    held: RefCell<BTreeMap<Name, OwnedMutexGuard<()>>>,
}

impl Host {
    pub(super) fn connect(settings: HostSettings) -> Result<Host, ComputeError> {
        Ok(match settings {
            HostSettings::None => Host::None(NoHost::new()),
            #[cfg(feature = "real")]
            HostSettings::Real(config) => Host::Real(Box::new(RealHost::connect(config)?)),
        })
    }

    /// In words, for the first line of the log.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Host::None(_) => "without a host: what a detach needs of libvirt or iSCSI is refused",
            #[cfg(feature = "real")]
            Host::Real(_) => "on this host",
        }
    }

    pub(super) fn now(&self) -> SimTime {
        match self {
            Host::None(none) => SimTime::ZERO + none.started.elapsed(),
            #[cfg(feature = "real")]
            Host::Real(host) => host.now(),
        }
    }

    /// Carries out one operation of libvirt, open-iscsi, the kernel or the runtime.
    pub(super) async fn call(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        match self {
            Host::None(none) => match call {
                Call::Runtime(c) => none.runtime(c).await.map(Reply::Runtime),
                other => Err(Refusal::Os {
                    path: other.name().to_owned(),
                    message: "castoff compute was started without a host".to_owned(),
                }
                .into()),
            },
            #[cfg(feature = "real")]
            Host::Real(host) => host.call(cx, call).await,
        }
    }
}

impl NoHost {
    fn new() -> NoHost {
        let (queues, held) = (RefCell::default(), RefCell::default());
        NoHost { started: Instant::now(), queues, held }
    }

    async fn runtime(&self, call: runtime::Call) -> Result<runtime::Reply, Failure> {
        match call {
            runtime::Call::Sleep(c) => {
                tokio::time::sleep(c.duration).await;
                Ok(runtime::Reply::Sleep(()))
            }
            runtime::Call::Lock(c) => {
                let name = (c.scope, c.name);
                let queue = self.queues.borrow_mut().entry(name.clone()).or_default().clone();
                let turn = queue.lock_owned().await;
                self.held.borrow_mut().insert(name, turn);
                Ok(runtime::Reply::Lock(()))
            }
            runtime::Call::Unlock(c) => match self.held.borrow_mut().remove(&(c.scope, c.name)) {
                Some(_turn) => Ok(runtime::Reply::Unlock(())),
                None => Err(Refusal::not_found("held lock", "of this name").into()),
            },
        }
    }
}
