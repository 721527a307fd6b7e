//! What a run records: events with time and place, a text form with fixed columns, JSON lines.
//!
//! Version 1. The header names the run's identity; every line after it is one event. The text
//! form shows who calls whom in what words; [`Event`] has the same as data.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;
use crate::{RequestId, SimTime};

/// The format's version, in the header.
pub const VERSION: u32 = 1;

/// Where the pipeline stands; shown as a line of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// A station of the pipeline begins, in nova's words.
    Station(&'static str),
    /// One of the four steps of DriverVolumeBlockDevice.detach.
    Step(u8, &'static str),
    /// A notification goes out (oslo.messaging swallows what goes wrong with it).
    Notification(&'static str),
    /// A log line with its level's weight: warning.
    Warning(String),
    /// A log line: error.
    Error(String),
}

/// One event of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When.
    pub at: SimTime,
    /// Who: a process, a system, or `castoff`.
    pub who: &'static str,
    /// The request it serves, if one.
    pub request: Option<RequestId>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A process calls a system.
    Call {
        /// The system.
        to: &'static str,
        /// `system::Operation`.
        operation: &'static str,
        /// In its owner's words.
        text: String,
    },
    /// The system's answer reaches the process.
    Reply {
        /// The system.
        from: &'static str,
        /// `system::Operation`.
        operation: &'static str,
        /// A short form of the reply or the failure.
        text: String,
        /// False for a failure.
        ok: bool,
    },
    /// A state changed in a system.
    State {
        /// For example `volume 30d7… in-use -> detaching`.
        text: String,
    },
    /// Where the pipeline stands.
    Note {
        /// The note.
        note: Note,
    },
    /// A planned fault struck.
    Fault {
        /// What struck and where.
        text: String,
    },
    /// A property was broken, or the run's outcome.
    Verdict {
        /// In words.
        text: String,
    },
}

/// Collects events; a run without a reader has none and pays nothing.
#[derive(Clone, Default)]
pub struct Trace(Option<Rc<Sink>>);

#[derive(Default)]
struct Sink {
    epoch: SimTime,
    events: RefCell<Vec<Event>>,
}

impl Trace {
    /// Records nothing.
    pub fn off() -> Self {
        Trace(None)
    }
    /// Records everything, with times from `epoch` on.
    pub fn on(epoch: SimTime) -> Self {
        Trace(Some(Rc::new(Sink { epoch, events: RefCell::default() })))
    }
    /// Whether anything is recorded: callers build their texts only then.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }
    /// Records one event, built only when someone reads.
    pub fn push(&self, event: impl FnOnce() -> Event) {
        if let Some(sink) = &self.0 {
            let mut event = event();
            event.at = SimTime(event.at.0.saturating_sub(sink.epoch.0));
            sink.events.borrow_mut().push(event);
        }
    }
    /// The events so far.
    pub fn take(&self) -> Vec<Event> {
        self.0.as_ref().map(|s| std::mem::take(&mut *s.events.borrow_mut())).unwrap_or_default()
    }
}

/// Who ran what: a trace begins with it, and a run is repeated from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// castoff's version.
    pub castoff: String,
    /// Scenario name.
    pub scenario: String,
    /// Policy name.
    pub policy: String,
    /// Release name.
    pub release: String,
    /// Binding name.
    pub binding: String,
    /// Seed.
    pub seed: u64,
    /// The plan, when one was given beside the scenario's own.
    pub plan: Option<crate::plan::Plan>,
    /// The schedule; by virtual time when a file does not say.
    #[serde(default, skip_serializing_if = "Schedule::is_fifo")]
    pub schedule: Schedule,
    /// The random generator's name.
    pub generator: String,
}

impl Identity {
    /// The one command that runs it again.
    pub fn replay_command(&self) -> String {
        let mut command = format!(
            "castoff replay --scenario {} --policy {} --release {} --binding {} --seed {}",
            quoted(&self.scenario),
            quoted(&self.policy),
            self.release,
            self.binding,
            self.seed
        );
        for fault in self.plan.iter().flat_map(|plan| &plan.faults) {
            // Writing into a String cannot fail.
            let _ = write!(command, " --fault {fault}");
        }
        if !self.schedule.is_fifo() {
            let _ = write!(command, " --schedule {}", self.schedule);
        }
        command.push_str(" --trace text");
        command
    }
}

/// A word as a shell reads it back: a path may have spaces, a changed policy has JSON in its name.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+=,:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "castoff {} trace v{VERSION} scenario={} policy={} release={} binding={} seed={} plan={} generator={}",
            self.castoff,
            self.scenario,
            self.policy,
            self.release,
            self.binding,
            self.seed,
            match &self.plan {
                None => "-".to_owned(),
                Some(p) => serde_json::to_string(p).unwrap_or_else(|e| e.to_string()),
            },
            self.generator
        )?;
        match self.schedule.is_fifo() {
            true => Ok(()),
            false => write!(f, " schedule={}", self.schedule),
        }
    }
}

/// The text form: a header line, then a line an event. Columns: seconds, who, request, what.
pub fn to_text(identity: &Identity, events: &[Event]) -> String {
    let mut out = format!("# {identity}\n");
    for e in events {
        let request = e.request.map(|r| r.to_string()).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(out, "{:>12} {:<12} {request:<6} ", e.at.to_string(), e.who);
        let _ = match &e.what {
            What::Call { to, text, .. } => writeln!(out, "-> {to:<9} {text}"),
            What::Reply { from, text, ok, .. } => {
                let mark = if *ok { "<-" } else { "<!" };
                writeln!(out, "{mark} {from:<9} {text}")
            }
            What::State { text } => writeln!(out, "   = {text}"),
            What::Note { note } => match note {
                Note::Station(name) => writeln!(out, "## {name}"),
                Note::Step(n, name) => writeln!(out, "## step {n}: {name}"),
                Note::Notification(name) => writeln!(out, "## notification {name}"),
                Note::Warning(text) => writeln!(out, "WARNING {text}"),
                Note::Error(text) => writeln!(out, "ERROR {text}"),
            },
            What::Fault { text } => writeln!(out, "** {text}"),
            What::Verdict { text } => writeln!(out, ">> {text}"),
        };
    }
    out
}

/// The JSON lines form: the identity first, then an object an event.
pub fn to_jsonl(identity: &Identity, events: &[Event]) -> String {
    let mut out = String::new();
    let header = serde_json::json!({"trace": VERSION, "identity": identity});
    let _ = writeln!(out, "{header}");
    for e in events {
        // Events hold strings and integers only: they always serialise.
        let line = serde_json::to_string(e).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"));
        let _ = writeln!(out, "{line}");
    }
    out
}
