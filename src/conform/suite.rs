//! A run: takes the state directory, sweeps what earlier runs left, plays the cases one after the
//! other, and takes away all that it made, whatever came of it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use castoff_pipeline::policy::Policy;
use castoff_ports::qemu;
use castoff_ports::schedule::Schedule;
use castoff_ports::trace::{Identity, to_text};
use castoff_ports::{Iqn, Lun, Portal};
use castoff_real::fixture::{FixtureError, Guest, Ledger, LocalTarget, Made, sh, sweep};
use castoff_real::prerequisites;
use futures::future::{Either, select};

use super::capabilities::Capabilities;
use super::case::{Case, Machine, Paths};
use super::cloud::Settings;
use super::host_facts::facts;
use super::multipathd::Multipathd;
use super::play::{Play, PlayError, Played};
use super::record::{CaseRecord, CheckRecord, Grade, HostFacts, StepRecord};
use super::refine;
use super::stage::{Luns, Stage};

/// Where the volumes come from.
#[derive(Clone, Debug)]
pub enum TargetOption {
    /// A tgtd of castoff's own.
    Local,
    /// One LUN that the user named.
    Named {
        /// Portal.
        portal: Portal,
        /// Target.
        iqn: Iqn,
        /// LUN.
        lun: Lun,
    },
}

/// What a run may use, and how it is set.
#[derive(Clone, Debug)]
pub struct Options {
    /// libvirt's connection URI.
    pub uri: String,
    /// The guest's name.
    pub domain: String,
    /// What kind of guest it is.
    pub machine: Machine,
    /// Its serial console as a file, if it says GUEST-READY and GUEST-BLK there.
    pub console: Option<PathBuf>,
    /// Volumes.
    pub target: TargetOption,
    /// Nova's options.
    pub settings: Settings,
    /// Journal, lock and files.
    pub state_dir: PathBuf,
    /// The guest may be paused, reset and killed.
    pub may_kill_guest: bool,
    /// libvirtd and multipathd may be killed and started.
    pub may_restart_daemons: bool,
    /// The profile that healthy detaches' times are compared with, if one is.
    pub timing: Option<String>,
    /// Where each case's trace is kept, if anywhere.
    pub trace_dir: Option<PathBuf>,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConformError {
    /// The host lacks something.
    #[error("this host cannot run a conformance case: {0}")]
    Missing(String),
    /// Something could not be made, or another run is at work.
    #[error(transparent)]
    Fixture(#[from] FixtureError),
    /// Something is there that no run of castoff made.
    #[error("use {what}: it is in use ({found}); name another, or take that away first")]
    InUse {
        /// What.
        what: String,
        /// By what.
        found: String,
    },
    /// What was made could not be taken away; the next run tries again.
    #[error("take away what the run made: {0}")]
    Left(String),
    /// A signal.
    #[error("interrupted; what the run made was taken away")]
    Interrupted,
}

/// What a run tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The run begins: its id, and what the host runs.
    Start(&'a str, &'a HostFacts),
    /// A case begins.
    Begin(&'static Case),
    /// A case has ended.
    End(&'a CaseRecord),
}

/// Plays the cases; each is told when it begins and ends. `stop` ends the run early.
///
/// It must run inside a tokio `LocalSet` on a `current_thread` runtime.
///
/// # Errors
/// When the run could not be made, could not take away what it made, or was stopped.
pub async fn run(
    options: &Options,
    cases: &[&'static Case],
    stop: impl Future<Output = ()>,
    tell: &RefCell<dyn FnMut(Progress<'_>)>,
) -> Result<(), ConformError> {
    let ledger = opened(options).await?;
    let run = run_id()?;
    // What is played is dropped at the end of this block: no case goes on beside the sweep.
    let played = {
        let stop = pin!(stop);
        let work = pin!(in_the_clear(options, cases, &ledger, &run, tell));
        match select(stop, work).await {
            Either::Left(_) => Err(ConformError::Interrupted),
            Either::Right((result, _)) => result,
        }
    };
    let swept = taken_away(sweep::sweep(&ledger, &run, options.may_kill_guest).await);
    played.and(swept)
}

/// Looks for what a run needs, takes the state directory, and sweeps what earlier runs left.
pub(super) async fn opened(options: &Options) -> Result<Rc<Ledger>, ConformError> {
    let missing = prerequisites::check().into_iter().filter(|p| p.required && !p.found);
    let missing: Vec<String> =
        missing.map(|p| format!("{} (looked at {}): {}", p.what, p.place, p.advice)).collect();
    if !missing.is_empty() {
        return Err(ConformError::Missing(missing.join("; ")));
    }
    let ledger = Rc::new(Ledger::open(&options.state_dir)?);
    for left in ledger.left()? {
        taken_away(sweep::sweep(&ledger, &left.run, options.may_kill_guest).await)?;
    }
    Ok(ledger)
}

pub(super) fn taken_away(errors: Vec<FixtureError>) -> Result<(), ConformError> {
    if errors.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(ConformError::Left(all.join("; ")))
}

/// Four characters, new for every run: part of every name, and a group of the volumes' ids.
pub(super) fn run_id() -> Result<String, FixtureError> {
    let path = "/proc/sys/kernel/random/uuid";
    let text = std::fs::read_to_string(path)
        .map_err(|e| FixtureError::File { path: path.to_owned(), message: e.to_string() })?;
    Ok(text.chars().take(4).collect())
}

async fn in_the_clear(
    options: &Options,
    cases: &[&'static Case],
    ledger: &Rc<Ledger>,
    run: &str,
    tell: &RefCell<dyn FnMut(Progress<'_>)>,
) -> Result<(), ConformError> {
    let capabilities = Capabilities::of(options).await;
    let facts = facts().await;
    tell.borrow_mut()(Progress::Start(run, &facts));
    let stage = Rc::new(set(options, cases, ledger, run).await?);
    for case in cases {
        tell.borrow_mut()(Progress::Begin(case));
        let record = match capabilities.lacks(case) {
            Some(reason) => skipped(case, reason),
            None => played(options, case, &stage).await,
        };
        tell.borrow_mut()(Progress::End(&record));
    }
    Ok(())
}

/// Makes what all cases share.
pub(super) async fn set(
    options: &Options,
    cases: &[&Case],
    ledger: &Rc<Ledger>,
    run: &str,
) -> Result<Stage, ConformError> {
    let guest = Guest {
        uri: options.uri.clone(),
        name: options.domain.clone(),
        // Without a user land nobody writes there.
        console: options.console.clone().filter(|_| options.machine != Machine::NoOs),
    };
    let disks = Made::GuestDisks { uri: guest.uri.clone(), domain: guest.name.clone() };
    let (iqn, portals, luns) = match &options.target {
        TargetOption::Local => {
            let mut target = LocalTarget::new(run, &ledger.files(run), most_volumes(cases))?;
            ledger.write(run, &disks)?;
            ledger.write(run, &Made::Target { iqn: target.iqn().to_string() })?;
            ledger.write(run, &Made::Tgtd { control: target.control() })?;
            target.start().await?;
            let (iqn, portals) = (target.iqn(), target.portals().to_vec());
            (iqn, portals, Luns::Local(Box::new(tokio::sync::Mutex::new(target))))
        }
        TargetOption::Named { portal, iqn, lun } => {
            let script =
                "{ iscsiadm -m session; iscsiadm -m node; } 2>/dev/null | grep -F \" $1\" || true";
            let found = sh(script, &[iqn.as_str()]).await?;
            if !found.trim().is_empty() {
                let (what, found) = (format!("target {iqn}"), found.trim().replace('\n', ", "));
                return Err(ConformError::InUse { what, found });
            }
            ledger.write(run, &disks)?;
            ledger.write(run, &Made::Target { iqn: iqn.to_string() })?;
            (iqn.clone(), vec![portal.clone()], Luns::Named { lun: *lun })
        }
    };
    let may_kill = options.may_kill_guest;
    Ok(Stage::new(run.to_owned(), ledger.clone(), guest, (iqn, portals, luns), may_kill))
}

fn most_volumes(cases: &[&Case]) -> u32 {
    u32::from(cases.iter().flat_map(|c| c.volumes()).max().unwrap_or(1))
}

fn skipped(case: &Case, reason: String) -> CaseRecord {
    CaseRecord { grade: Grade::Skip, reason: Some(reason), ..blank(case) }
}

fn blank(case: &Case) -> CaseRecord {
    CaseRecord {
        id: case.id.to_owned(),
        title: case.title.to_owned(),
        cites: case.cites.iter().map(|c| (*c).to_owned()).collect(),
        grade: Grade::Pass,
        reason: None,
        took_ms: 0,
        checks: Vec::new(),
        steps: Vec::new(),
        refinement: None,
        replay: Some(format!("castoff conform --lab {}", case.id)),
    }
}

/// Plays a case and clears up behind it.
async fn played(options: &Options, case: &'static Case, stage: &Rc<Stage>) -> CaseRecord {
    let clock = tokio::time::Instant::now();
    let mut record = blank(case);
    let policy = Policy::named(case.policy)
        .unwrap_or_else(|| unreachable!("{} names a policy that exists", case.id));
    let daemon = Multipathd::up(options, case, stage).await;
    let result = match daemon {
        Err(e) => Err(PlayError::Act(e)),
        Ok(daemon) => {
            let result = play(options, case, &policy, stage, &mut record).await;
            note(&mut record, "cleaned up behind the case", stage.reset().await);
            note(&mut record, "multipathd stopped", daemon.down().await);
            result
        }
    };
    if let Err(e) = result {
        record.grade = Grade::Fail;
        record.reason = Some(e.to_string());
    } else if let Some(failed) = record.checks.iter().find(|c| !c.ok) {
        record.grade = Grade::Fail;
        record.reason = Some(format!("{}: found {}", failed.name, failed.found));
    }
    record.took_ms = clock.elapsed().as_millis() as u64;
    record
}

fn note(record: &mut CaseRecord, name: &str, errors: Vec<FixtureError>) {
    if !errors.is_empty() {
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let (name, found) = (name.to_owned(), found.join("; "));
        record.checks.push(CheckRecord { name, ok: false, found });
    }
}

async fn play(
    options: &Options,
    case: &'static Case,
    policy: &Policy,
    stage: &Rc<Stage>,
    record: &mut CaseRecord,
) -> Result<(), PlayError> {
    stage.export(case).await?;
    let play = Play::new(case, policy, stage, &options.settings)?;
    let limit = Duration::from_secs(case.deadline_s);
    let ended = tokio::time::timeout(limit, play.run()).await;
    let (mut played, result) = match ended {
        Ok(Ok(played)) => (played, Ok(())),
        Ok(Err(e)) => (play.so_far(), Err(e)),
        Err(_) => {
            let mut played = play.so_far();
            played.checks.push(CheckRecord {
                name: format!("it ends within {} s", case.deadline_s),
                ok: false,
                found: play.standing(),
            });
            (played, Ok(()))
        }
    };
    play.hybrid.end();
    record.steps = steps(&played);
    if let Some(odd) = played.usual.iter().find(|c| !c.ok) {
        record.grade = Grade::Differs;
        record.reason = Some(format!("{}: found {}", odd.name, odd.found));
    }
    record.checks = std::mem::take(&mut played.checks);
    // What is usual alone never fails a case.
    record.checks.extend(played.usual.into_iter().filter(|c| c.ok));
    let events = play.events();
    if result.is_ok() && case.is_healthy() {
        let two_paths = case.paths == Paths::Two;
        // How soon a guest lets go by ACPI is the host's speed: any time that was measured.
        let machine = case.machine.qemu().filter(|m| *m == qemu::Machine::Q35Native);
        let made = refine::Made { two_paths, machine, timing: options.timing.as_deref() };
        match refine::healthy(&events, play.detach_request(), made, &play.policy) {
            Ok(found) => {
                if let Some(odd) = found.unexplained().next()
                    && record.grade == Grade::Pass
                {
                    record.grade = Grade::Differs;
                    record.reason = Some(format!("{}: not as the model", odd.at));
                }
                record.refinement = Some(found);
            }
            Err(e) => {
                let name = "it is compared with the model".to_owned();
                record.checks.push(CheckRecord { name, ok: false, found: e.to_string() });
            }
        }
    }
    if let Some(dir) = &options.trace_dir {
        let identity = Identity {
            castoff: env!("CARGO_PKG_VERSION").to_owned(),
            scenario: case.id.to_owned(),
            policy: policy.name.clone(),
            release: policy.default_release.clone(),
            binding: "real".to_owned(),
            seed: 0,
            plan: None,
            schedule: Schedule::default(),
            generator: "-".to_owned(),
        };
        let text = to_text(&identity, &events);
        if let Err(e) = std::fs::write(dir.join(case.id.replace('/', "_") + ".trace"), text) {
            let (path, message) = (dir.display().to_string(), e.to_string());
            note(record, "its trace is kept", vec![FixtureError::File { path, message }]);
        }
    }
    result
}

fn steps(played: &Played) -> Vec<StepRecord> {
    let began = played.detach_began;
    let mut steps: Vec<StepRecord> = played
        .steps
        .iter()
        .filter(|s| s.started >= began)
        .map(|s| StepRecord {
            operation: s.operation.to_owned(),
            from_us: s.started.since(began).as_micros() as u64,
            took_us: s.took.as_micros() as u64,
        })
        .collect();
    steps.sort_by_key(|s| s.from_us);
    steps
}
