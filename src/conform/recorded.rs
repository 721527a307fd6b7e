//! What a real Nova 33 with os-brick 7 issued on a real host, beside what a detach issues here: calls
//! of libvirt and commands, in their order.
//!
//! The recordings (`tests/golden/real-nova`) are libvirtd's own log of API calls and a log of every
//! command. Left out as noise of other threads or of libvirt's client: version and reference calls,
//! the lookup that LookupByUUIDString makes itself, the domain's id, device events' own calls. Left
//! out as udev's doing, not os-brick's: [`UDEV`]. What differs on purpose is data: [`DELIBERATE`].
//!
//! One order is not os-brick's to keep: it deletes the disks of a map as it walks a Python set of
//! their names, which has no order. castoff takes the portals' order, one of those. The disks are
//! therefore named here by the order in which they go.

use std::fmt;

/// Commands of udev's rules and of device-mapper's own, which run when a disk or a map changes.
const UDEV: [&str; 4] =
    ["multipath -u ", "multipath -U ", "dmsetup deps ", "dmsetup udevcomplete "];

/// How a check of such a comparison is called; the recording's words come next.
pub const ISSUES: &str = "it issues what nova 33 issued for ";

/// The commands that os-brick runs for a detach.
const COMMANDS: [&str; 6] =
    ["iscsiadm ", "multipath ", "multipathd ", "blockdev ", "tee ", "dmsetup "];

/// The calls of libvirt that a detach is made of.
const LIBVIRT: [&str; 6] = [
    "virDomainLookupByUUIDString",
    "virDomainGetInfo",
    "virDomainIsPersistent",
    "virDomainGetXMLDesc",
    "virDomainDetachDeviceFlags",
    "virSecretLookupByUsage",
];

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// A healthy detach with one path.
    OnePath,
    /// A healthy detach with two paths and a map.
    TwoPaths,
    /// Two detaches side by side from guests that never let go.
    NeverAnswers,
}

impl Recording {
    /// libvirtd's log of API calls.
    pub fn libvirt_log(self) -> &'static str {
        match self {
            Recording::OnePath => {
                include_str!("../../tests/golden/real-nova/healthy-libvirt-api.log")
            }
            Recording::TwoPaths => {
                include_str!("../../tests/golden/real-nova/healthy-multipath-libvirt-api.log")
            }
            Recording::NeverAnswers => {
                include_str!("../../tests/golden/real-nova/never-ack-libvirt-api.log")
            }
        }
    }

    /// The log of commands.
    pub fn command_log(self) -> &'static str {
        match self {
            Recording::OnePath => include_str!("../../tests/golden/real-nova/healthy-exec.log"),
            Recording::TwoPaths => {
                include_str!("../../tests/golden/real-nova/healthy-multipath-exec.log")
            }
            Recording::NeverAnswers => {
                include_str!("../../tests/golden/real-nova/never-ack-exec.log")
            }
        }
    }

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Recording::OnePath => "a detach with one path",
            Recording::TwoPaths => "a detach with two paths",
            Recording::NeverAnswers => "a guest that never lets go",
        }
    }
}

/// One thing that is done otherwise here, on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Deliberate {
    /// Beside which recording.
    pub recording: Recording,
    /// What.
    pub what: What,
    /// Why.
    pub why: &'static str,
}

/// What is done otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// So many requests to let go, instead of so many.
    Requests {
        /// nova's.
        recorded: usize,
        /// Those of the case.
        here: usize,
    },
    /// So many seconds from one request to the running guest to the next, instead of so many.
    PauseS {
        /// nova's.
        recorded: u32,
        /// Those of the case, at least: a host is not always fast.
        here: u32,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Requests { recorded, here } => write!(f, "{here} requests, nova's {recorded}"),
            What::PauseS { recorded, here } => {
                write!(f, "{here} s at least from one to the next, nova's {recorded}")
            }
        }
    }
}

/// All of them.
pub const DELIBERATE: [Deliberate; 2] = [
    Deliberate {
        recording: Recording::NeverAnswers,
        what: What::Requests { recorded: 9, here: 3 },
        why: "device_detach_attempts is 8 in nova; the case sets 2, which takes seconds instead of minutes",
    },
    Deliberate {
        recording: Recording::NeverAnswers,
        what: What::PauseS { recorded: 25, here: 6 },
        why: "device_detach_timeout is 20 in nova; the case sets 1; libvirt's own five seconds come first",
    },
];

/// A call of libvirt or a command, as it was issued.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// When, seconds; from when does not matter.
    pub at_s: f64,
    /// `virDomainGetXMLDesc flags=0x2`, or a command line.
    pub text: String,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Calls of libvirt that were recorded and issued.
    pub calls: usize,
    /// Commands.
    pub commands: usize,
    /// Where the two differ, for people; empty: nowhere but on purpose.
    pub differences: Vec<String>,
}

/// Compares what a detach issued with the recording.
pub fn compare(recording: Recording, issued: &[Issued]) -> Compared {
    let (log, commands) = (recording.libvirt_log(), recording.command_log());
    let ours = issued_commands(issued.iter().map(|i| i.text.clone()));
    match recording {
        Recording::OnePath | Recording::TwoPaths => {
            let calls = recorded_libvirt(log);
            let called = issued_libvirt(issued.iter().map(|i| i.text.as_str()));
            let recorded = recorded_commands(commands);
            let differences =
                [first_difference(&calls, &called), first_difference(&recorded, &ours)];
            let differences = differences.into_iter().flatten().collect();
            Compared { calls: calls.len(), commands: recorded.len(), differences }
        }
        Recording::NeverAnswers => {
            let ours_asked = issued_requests(issued);
            let mut differences = Vec::new();
            for alias in NEVER_ANSWERED {
                differences.extend(of_requests(&recorded_requests(log, alias), &ours_asked));
            }
            // nova's own commands began when it had given up, and were for something else.
            differences.extend(ours.first().map(|c| format!("it ran {c}; nova ran nothing")));
            Compared { calls: ours_asked.len(), commands: 0, differences }
        }
    }
}

/// Requests to let go beside the recorded ones, as far as they are not different on purpose.
fn of_requests(recorded: &[Request], here: &[Request]) -> Vec<String> {
    let mut differences = Vec::new();
    for deliberate in DELIBERATE {
        match deliberate.what {
            What::Requests { recorded: nova, here: ours } => {
                if (recorded.len(), here.len()) != (nova, ours) {
                    let (r, h) = (recorded.len(), here.len());
                    differences.push(format!("{h} requests, not {ours}; nova {r}, not {nova}"));
                }
            }
            What::PauseS { recorded: nova, here: ours } => {
                let pauses = |all: &[Request]| -> Vec<f64> {
                    // The first is for the config, and nothing is waited for.
                    all.windows(2).skip(1).map(|two| two[1].0 - two[0].0).collect()
                };
                let (r, h) = (pauses(recorded), pauses(here));
                let all = r.iter().all(|s| s.round() == f64::from(nova))
                    && h.iter().all(|s| *s >= f64::from(ours));
                if !all {
                    differences.push(format!("pauses of {h:?} s, nova's of {r:?} s"));
                }
            }
        }
    }
    let whats = |all: &[Request]| all.iter().map(|(_, what)| what.clone()).collect::<Vec<_>>();
    let begins = recorded.get(..here.len()).unwrap_or(recorded);
    differences.extend(first_difference(&whats(begins), &whats(here)));
    differences
}

/// The place where two sequences part.
fn first_difference(recorded: &[String], here: &[String]) -> Option<String> {
    let at = (0..recorded.len().max(here.len())).find(|at| recorded.get(*at) != here.get(*at))?;
    let side = |all: &[String]| all.get(at).cloned().unwrap_or_else(|| "nothing".to_owned());
    Some(format!("{} of {}: {}; nova: {}", at + 1, recorded.len(), side(here), side(recorded)))
}

/// libvirt's flags as what they mean for this call.
fn flags(call: &str, flags: &str) -> Option<&'static str> {
    match (call, flags) {
        ("virDomainGetXMLDesc", "0x0") => Some("LIVE-XML"),
        ("virDomainGetXMLDesc", "0x2") => Some("INACTIVE-XML"),
        ("virDomainDetachDeviceFlags", "0x1") => Some("LIVE"),
        ("virDomainDetachDeviceFlags", "0x2") => Some("CONFIG"),
        _ => None,
    }
}

/// `name flags` of the recorded calls of libvirt that a detach is made of.
pub fn recorded_libvirt(log: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    for line in log.lines() {
        if let Some(name) = LIBVIRT.iter().find(|k| line.contains(&format!(" {k}:"))) {
            calls.push((*name).to_owned());
        }
        // The flags of a call with XML stand on a line of their own, after it.
        if let Some((_, value)) = line.split_once("flags=")
            && let Some(last) = calls.last_mut()
            && let Some(meaning) = flags(last, value)
        {
            last.push(' ');
            last.push_str(meaning);
        }
    }
    calls
}

/// The same of what was issued.
pub fn issued_libvirt<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let name = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    let texts = texts.into_iter().filter(|t| LIBVIRT.contains(&name(t).as_str()));
    texts
        .map(|text| {
            let call = name(text);
            let given = text.split_once("flags=").map_or("", |(_, value)| value);
            match flags(&call, given) {
                Some(meaning) => format!("{call} {meaning}"),
                None if given.is_empty() => call,
                None => format!("{call} {given}"),
            }
        })
        .collect()
}

/// The commands without what differs between hosts: targets, portals, disks and maps are named by
/// the order in which they come.
fn shapes(commands: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let mut name = |kind: &str, word: &str| {
        let word = format!("{kind} {word}");
        if !seen.contains(&word) {
            seen.push(word.clone());
        }
        let same = seen.iter().filter(|s| s.split(' ').next() == Some(kind));
        format!("{kind}{}", same.take_while(|s| **s != word).count() + 1)
    };
    let mut before = String::new();
    let mut shape = |word: &str| {
        let disk = word.strip_prefix("/sys/block/").and_then(|w| w.strip_suffix("/device/delete"));
        let shape = match (word, disk, word.strip_prefix("/dev/")) {
            (_, Some(disk), _) => format!("/sys/block/{}/device/delete", name("disk", disk)),
            (_, None, Some(disk)) => format!("/dev/{}", name("disk", disk)),
            (w, None, None) if w.starts_with("iqn.") => name("target", w),
            (w, None, None) if before == "-p" => name("portal", w),
            (w, None, None) if before == "-f" => name("map", w),
            (w, None, None) => w.to_owned(),
        };
        word.clone_into(&mut before);
        shape
    };
    let commands = commands.into_iter();
    commands.map(|c| c.split(' ').map(&mut shape).collect::<Vec<_>>().join(" ")).collect()
}

/// The recorded commands of os-brick.
pub fn recorded_commands(log: &str) -> Vec<String> {
    let started = log.lines().filter_map(|l| l.split_once(" START "));
    let commands = started.map(|(_, command)| command.to_owned());
    shapes(commands.filter(|c| !UDEV.iter().any(|udev| c.starts_with(udev))))
}

/// The same of what was issued.
pub fn issued_commands(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_one = |text: &String| COMMANDS.iter().any(|c| text.starts_with(c));
    shapes(texts.into_iter().filter(is_one))
}

/// A request to let go of a disk: when, in seconds, and after which look at the XML.
pub type Request = (f64, String);

/// The disks of the two detaches of [`Recording::NeverAnswers`], by their aliases.
pub const NEVER_ANSWERED: [&str; 2] =
    ["ua-751dc159-7641-4aca-b6fb-cb50098d0234", "ua-594ce482-ddc3-42f2-831f-7c3a58c8c128"];

/// Seconds of the day of a line of a log that has a time.
pub fn seconds_of(line: &str) -> Option<f64> {
    let is_time = |w: &&str| w.get(2..3) == Some(":") && w.get(5..6) == Some(":");
    let time = line.split_whitespace().find(is_time)?;
    let mut parts = time.get(..12)?.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
}

/// Every recorded request for the disk of this alias.
pub fn recorded_requests(log: &str, alias: &str) -> Vec<Request> {
    let (mut requests, mut look, mut at) = (Vec::new(), "", 0.0);
    let mut ours = false;
    for line in log.lines() {
        if line.contains(" virDomainGetXMLDesc:") {
            look = if line.ends_with("flags=0x2") { "INACTIVE-XML" } else { "LIVE-XML" };
        }
        if line.contains(" virDomainDetachDeviceFlags:") {
            (at, ours) = (seconds_of(line).unwrap_or(f64::NAN), false);
        }
        ours |= line.contains(alias);
        match line.strip_prefix(", flags=") {
            Some("0x2") if ours => requests.push((at, format!("{look} CONFIG"))),
            Some("0x1") if ours => requests.push((at, format!("{look} LIVE"))),
            _ => {}
        }
    }
    requests
}

/// The same of what was issued for one disk.
pub fn issued_requests(issued: &[Issued]) -> Vec<Request> {
    let (mut requests, mut look) = (Vec::new(), "");
    for Issued { at_s, text } in issued {
        let Some((call, given)) = text.split_once(" flags=") else { continue };
        match flags(call, given) {
            Some(xml @ ("LIVE-XML" | "INACTIVE-XML")) => look = xml,
            Some(asked) => requests.push((*at_s, format!("{look} {asked}"))),
            None => {}
        }
    }
    requests
}

#[cfg(test)]
mod tests;
