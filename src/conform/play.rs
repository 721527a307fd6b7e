//! One case from its beginning to its last check.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use castoff_pipeline::client;
use castoff_pipeline::policy::Policy;
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::fault::FaultLayer;
use castoff_ports::plan::Plan;
use castoff_ports::trace::Trace;
use castoff_ports::trace_layer::TraceLayer;
use castoff_ports::{Binding, Failure, InstanceId, RequestId, SimTime};
use castoff_real::fixture::until;
use castoff_real::look::Seen;
use castoff_real::{RealConfig, RealError, RealHost, Timing};
use futures::future::join_all;

use super::acts::ActLayer;
use super::case::{Act, Case, Check, Paths, Step};
use super::checks;
use super::cloud::{Settings, conf, control_plane, release, user};
use super::hybrid::{Hybrid, Shared};
use super::record::CheckRecord;
use super::stage::Stage;

mod told;

/// How often the user looks whether it is done, and how long nothing may move.
const POLL: Duration = Duration::from_millis(50);

/// os-brick's own limit for a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a case could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlayError {
    /// The host lacks something, or does not answer.
    #[error(transparent)]
    Host(#[from] RealError),
    /// The host could not be looked at, or a call of the case's own failed.
    #[error("{0}")]
    Call(#[from] Failure),
    /// Something could not be done to the host.
    #[error(transparent)]
    Act(#[from] castoff_real::fixture::FixtureError),
    /// A fault that a case names cannot be read.
    #[error(transparent)]
    Fault(#[from] castoff_ports::plan_text::FaultTextError),
    /// A volume could not be attached.
    #[error("volume {volume} is {status} after the attach: {why}")]
    Attach {
        /// Which.
        volume: u8,
        /// Cinder's status.
        status: String,
        /// nova-api's answer.
        why: String,
    },
}

/// What came of a case that was played.
pub(super) struct Played {
    /// What was checked and must hold, in order.
    pub(super) checks: Vec<CheckRecord>,
    /// What is usual.
    pub(super) usual: Vec<CheckRecord>,
    /// Every operation on the host.
    pub(super) steps: Vec<Timing>,
    /// When the last detach began.
    pub(super) detach_began: SimTime,
}

/// A case under way.
pub(super) struct Play<'a> {
    case: &'a Case,
    pub(super) stage: &'a Stage,
    settings: &'a Settings,
    pub(super) hybrid: Rc<Hybrid>,
    pub(super) acts: Rc<ActLayer>,
    faults: Rc<FaultLayer>,
    pub(super) instance: InstanceId,
    /// As the case's and the run's options make it.
    pub(super) policy: Policy,
    next_request: Cell<u32>,
    detach_request: Cell<RequestId>,
    began: Cell<SimTime>,
    ended: Cell<SimTime>,
    answers: RefCell<Vec<u16>>,
    checks: RefCell<Vec<CheckRecord>>,
    usual: RefCell<Vec<CheckRecord>>,
    trace: Trace,
    /// What the last look saw.
    pub(super) seen: RefCell<Option<Seen>>,
}

impl<'a> Play<'a> {
    /// Connects to the host and makes the control plane.
    pub(super) fn new(
        case: &'a Case,
        policy: &Policy,
        stage: &'a Rc<Stage>,
        settings: &'a Settings,
    ) -> Result<Play<'a>, PlayError> {
        let instance = RealHost::domain_by_name(&stage.guest.uri, &stage.guest.name)?;
        let other = case.steps.iter().any(|s| matches!(s, Step::AttachToOther(_)));
        let instances: Vec<InstanceId> =
            [instance.clone()].into_iter().chain(other.then(|| stage.other_id())).collect();
        let host = RealHost::connect(RealConfig {
            uri: stage.guest.uri.clone(),
            domains: instances.clone(),
            targets: stage.portals.iter().map(|p| (p.clone(), stage.iqn.clone())).collect(),
            command_timeout: COMMAND_TIMEOUT,
            // A journal of the case's own: the next case's rows have the same numbers as this one's,
            // and the reconciler would take an entry that was left for theirs.
            lock_path: stage.ledger.files(&stage.run).join(case.id.replace('/', "_")),
        })?;
        let mut policy = settings.apply(policy.clone());
        let own = Settings {
            device_detach_attempts: case.attempts,
            device_detach_timeout: case.timeout_s,
            ..Settings::DEFAULTS
        };
        policy = own.apply(policy);
        let volumes: Vec<_> =
            case.volumes().into_iter().map(|n| (stage.volume(n), stage.address(n))).collect();
        let portals = stage.portals_of(case.paths);
        let world = control_plane(release(&policy), &instances, &volumes, portals);
        let hybrid = Hybrid::new(world, host, conf(policy.clone(), case.paths == Paths::Two));
        let trace = Trace::on(SimTime::ZERO);
        let acts = Rc::new(ActLayer::new(Rc::new(Shared(hybrid.clone())), stage.clone()));
        let faults = Rc::new(FaultLayer::new(acts.clone(), &Plan::default(), trace.clone()));
        let layered: Rc<dyn Binding> = Rc::new(TraceLayer::new(faults.clone(), trace.clone()));
        hybrid.lay(layered);
        Ok(Play {
            case,
            stage,
            settings,
            hybrid,
            acts,
            faults,
            instance,
            policy,
            next_request: Cell::new(1),
            detach_request: Cell::new(RequestId(0)),
            began: Cell::new(SimTime::ZERO),
            ended: Cell::new(SimTime::ZERO),
            answers: RefCell::default(),
            checks: RefCell::default(),
            usual: RefCell::default(),
            trace,
            seen: RefCell::default(),
        })
    }

    /// Plays every step.
    pub(super) async fn run(&self) -> Result<Played, PlayError> {
        for step in self.case.steps {
            self.step(step).await?;
        }
        self.acts.finish().await;
        let troubles = self.troubles();
        let all = CheckRecord {
            name: "every act and fault of the case struck".to_owned(),
            ok: troubles.is_empty(),
            found: if troubles.is_empty() { "yes".to_owned() } else { troubles.join("; ") },
        };
        self.checks.borrow_mut().push(all);
        Ok(self.so_far())
    }

    /// What was checked until now.
    pub(super) fn so_far(&self) -> Played {
        Played {
            checks: self.checks.borrow().clone(),
            usual: self.usual.borrow().clone(),
            steps: self.hybrid.host.timings(),
            detach_began: self.began.get(),
        }
    }

    fn troubles(&self) -> Vec<String> {
        let waiting = self.faults.waiting().into_iter().map(|f| format!("{f} never struck"));
        waiting.chain(self.acts.troubles()).collect()
    }

    async fn step(&self, step: &Step) -> Result<(), PlayError> {
        if !matches!(step, Step::Check(_) | Step::Usual(_)) {
            self.seen.take();
        }
        match step {
            Step::Attach(volumes) => {
                for n in *volumes {
                    self.attach(*n).await?;
                }
                if let Some(seconds) = self.settings.replacement_timeout {
                    self.stage.set_replacement_timeout(seconds).await?;
                }
            }
            Step::AttachToOther(n) => {
                self.stage.start_other(*n).await?;
                self.attach(*n).await?;
            }
            Step::Do(act) => {
                self.stage.act(*act).await?;
                self.roll_detaching(*act);
            }
            Step::At(operation, nth, when, act) => self.acts.arm(operation, *nth, *when, *act),
            Step::Fault(text) => self.faults.arm(text.parse()?),
            Step::Detach(volumes) => self.detach(volumes, None).await?,
            Step::DetachFor(volumes, seconds) => self.detach(volumes, Some(*seconds)).await?,
            Step::DetachTwice(n, after) => self.detach_twice(*n, *after).await?,
            Step::Until(seconds, list) => self.until(*seconds, list).await?,
            Step::Usual(list) => {
                let found = checks::run(self, list).await?;
                self.usual.borrow_mut().extend(found);
            }
            Step::Check(list) => {
                let found = checks::run(self, list).await?;
                self.checks.borrow_mut().extend(found);
            }
        }
        Ok(())
    }

    async fn until(&self, seconds: u64, list: &[Check]) -> Result<(), PlayError> {
        let end = self.hybrid.host.now() + Duration::from_secs(seconds);
        loop {
            self.seen.take();
            let found = checks::run(self, list).await?;
            if found.iter().all(|c| c.ok) || self.hybrid.host.now() > end {
                self.checks.borrow_mut().extend(found);
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// os-roll_detaching, by the models' own hand: an operator's command.
    fn roll_detaching(&self, act: Act) {
        if let Act::RollDetaching(n) = act {
            let mut world = self.hybrid.world.borrow_mut();
            if let Some(row) = world.cinder.volume_mut(&self.volume(n)) {
                row.status = VolumeStatus::InUse;
            }
        }
    }

    async fn attach(&self, n: u8) -> Result<(), PlayError> {
        let before = self.stage.guest.times_disks();
        let port = self.hybrid.client(self.request())?;
        let auth = client::authenticate(&port, &user()).await?;
        let answer = client::attach(&port.with_auth(auth), &self.server(n), &self.volume(n)).await;
        loop {
            let status = self.status(n);
            match status {
                Some(VolumeStatus::InUse) => break,
                // It was rolled back, or never began.
                Some(VolumeStatus::Available) | None if self.hybrid.is_idle() => {
                    let why = answer.err().map_or_else(|| "accepted".to_owned(), |e| e.to_string());
                    let status = status.map_or("missing", VolumeStatus::as_str).to_owned();
                    return Err(PlayError::Attach { volume: n, status, why });
                }
                Some(_) | None => tokio::time::sleep(POLL).await,
            }
        }
        while !self.hybrid.is_idle() {
            tokio::time::sleep(POLL).await;
        }
        // A user detaches a disk that the guest has.
        if !self.stage.is_others(n) {
            self.stage.guest.wait_disks(before + 1).await;
        }
        Ok(())
    }

    /// DELETE for all at once, and then until nothing moves.
    async fn detach(&self, volumes: &[u8], seconds: Option<u64>) -> Result<(), PlayError> {
        self.begin();
        let requests = volumes.iter().map(|n| self.delete(*n));
        let answers = join_all(requests).await.into_iter().collect::<Result<Vec<u16>, _>>()?;
        // One word for all: a refusal, if there is one.
        *self.answers.borrow_mut() = vec![answers.into_iter().max().unwrap_or_default()];
        let quiet = self.until_quiet(volumes);
        match seconds {
            None => quiet.await,
            // What has not ended by then goes on, beside the steps that follow.
            Some(s) => drop(tokio::time::timeout(Duration::from_secs(s), quiet).await),
        }
        self.end().await
    }

    async fn detach_twice(&self, n: u8, after_ms: u64) -> Result<(), PlayError> {
        self.begin();
        let first = self.delete(n);
        let second = async {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let request = self.detach_request.get();
            let answer = self.delete(n).await;
            // The action that is looked at is the first one's.
            self.detach_request.set(request);
            answer
        };
        let (first, second) = futures::future::join(first, second).await;
        *self.answers.borrow_mut() = vec![first?, second?];
        self.until_quiet(&[n]).await;
        self.end().await
    }

    fn begin(&self) {
        self.acts.forget_counts();
        self.began.set(self.hybrid.host.now());
    }

    async fn end(&self) -> Result<(), PlayError> {
        self.ended.set(self.hybrid.host.now());
        self.seen.take();
        // A libvirtd that was killed may be starting still.
        let answers = || async { self.stage.guest.state().await.is_ok() };
        until("libvirtd to answer", 30, answers).await?;
        let found = checks::safe(self).await?;
        self.checks.borrow_mut().extend(found);
        Ok(())
    }

    /// The status of the answer to a DELETE; 202 is nova's word for "begun".
    async fn delete(&self, n: u8) -> Result<u16, Failure> {
        let request = self.request();
        self.detach_request.set(request);
        let port = self.hybrid.client(request)?;
        let auth = client::authenticate(&port, &user()).await?;
        match client::detach(&port.with_auth(auth), &self.server(n), &self.volume(n)).await {
            Ok(()) => Ok(202),
            Err(e) => Ok(e.http_status().unwrap_or_default()),
        }
    }

    /// nova-compute works on nothing, and what it may take up again by itself is done too.
    async fn until_quiet(&self, volumes: &[u8]) {
        loop {
            let reconciled = self.hybrid.reconciles();
            let moving = |n: &u8| match self.status(*n) {
                Some(VolumeStatus::Detaching) => true,
                Some(VolumeStatus::Available) => self.has_bdm(*n),
                Some(_) | None => false,
            };
            if self.hybrid.is_idle() && !(reconciled && volumes.iter().any(moving)) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn has_bdm(&self, n: u8) -> bool {
        let world = self.hybrid.world.borrow();
        world.novadb.bdm(&self.volume(n), &self.server(n)).is_some()
    }

    fn status(&self, n: u8) -> Option<VolumeStatus> {
        self.hybrid.world.borrow().cinder.volume(&self.volume(n)).map(|v| v.status)
    }

    fn request(&self) -> RequestId {
        let n = self.next_request.get();
        self.next_request.set(n + 1);
        RequestId(n)
    }
}
