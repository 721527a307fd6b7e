//! Replays what os-brick's own connectors did to a scripted host: commands and their order,
//! sleeps, locks, outcome, end time and what is left.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests do")]

#[path = "support/brick_host.rs"]
mod brick_host;
mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use brick_host::{Host, text};
use castoff_pipeline::brick::connector::{Disconnect, disconnect_volume};
use castoff_pipeline::{Conf, Context, NovaProcess, Policy};
use castoff_ports::cinder::{IscsiData, IscsiPath, TargetLun};
use castoff_ports::{Lun, Process};
use serde_json::{Value, json};
use support::{Scripted, golden, port, run, seconds};

/// What may differ, and what of it was met.
struct Kept {
    entries: Vec<Value>,
    met: RefCell<BTreeSet<usize>>,
}

impl Kept {
    /// Whether this may differ in a case; it does, so the entry is met.
    fn allows(&self, case: &str, policy: &str, what: &str) -> bool {
        let is = |d: &Value, key: &str, value: &str| d[key] == "*" || d[key] == value;
        let at = self.entries.iter().position(|d| {
            d["file"] == "disconnect"
                && is(d, "case", case)
                && is(d, "policy", policy)
                && d["what"] == what
        });
        self.met.borrow_mut().extend(at);
        at.is_some()
    }
}

/// A number, or the text that some drivers of cinder make of it.
fn lun(value: &Value) -> TargetLun {
    match value {
        Value::String(text) => TargetLun::Text(text.clone()),
        number => Lun(number.as_u64().unwrap() as u32).into(),
    }
}

fn data(props: &Value) -> IscsiData {
    let list = |key: &str| props[key].as_array().cloned().unwrap_or_default();
    let (portals, iqns, luns) = (list("target_portals"), list("target_iqns"), list("target_luns"));
    let paths = portals.iter().zip(&iqns).zip(&luns).map(|((portal, iqn), lun)| IscsiPath {
        portal: text(portal).as_str().into(),
        iqn: text(iqn).as_str().into(),
        lun: self::lun(lun),
    });
    IscsiData {
        paths: paths.collect(),
        target_portal: text(&props["target_portal"]).as_str().into(),
        target_iqn: text(&props["target_iqn"]).as_str().into(),
        target_lun: lun(&props["target_lun"]),
        volume_id: text(&props["volume_id"]).as_str().into(),
        device_path: props["device_path"].as_str().map(str::to_owned),
        encrypted: false,
        auth: None,
    }
}

/// A recorded line in the form that our trace has: the limit of a command instead of its details.
fn recorded(line: &Value, ours: &Value) -> Value {
    let mut line = line.clone();
    if line[1] == "exec" {
        // Where nothing was recorded os-brick's own default holds, which is not in the trace.
        line[4] = match line[4]["timeout"].as_u64() {
            Some(limit) => json!(limit),
            None => ours[4].clone(),
        };
    }
    line
}

fn check(case: &Value, kept: &Kept) {
    let (name, policy) = (text(&case["name"]), text(&case["policy"]));
    let label = format!("{name} ({policy})");
    let binding = Scripted::new(Host::new(&case["host"]));
    let port = port(&binding, Process::NovaCompute);
    let mut conf = Conf::new(Policy::named(&policy).unwrap(), "vm".into());
    conf.use_multipath = case["use_multipath"] == true;
    let process = NovaProcess::new(Rc::new(conf));
    let cx = Context::new(&process, &port);
    let kw = |key: &str| case["kw"][key] == true;
    let how = Disconnect { force: kw("force"), ignore_errors: kw("ignore_errors") };
    let result = run(disconnect_volume(&cx, &data(&case["props"]), how));

    let outcome = match &result {
        Ok(()) => "ok",
        Err(e) => e.class_name(),
    };
    let expected = text(&case["outcome"]);
    assert_eq!(outcome, expected.split(':').next().unwrap(), "{label}: {result:?}");
    assert_eq!(json!(seconds(port.now())), case["t_end"], "{label}: end time");

    let host = binding.outside.borrow();
    let mut ours = host.trace.clone();
    let mut theirs = case["trace"].as_array().unwrap().clone();
    theirs.retain(|line| line[1] != "kernel");
    // What only the recorder left out.
    let unrecorded = "multipathd show status";
    if ours.iter().any(|line| line[2] == unrecorded)
        && !theirs.iter().any(|line| line[2] == unrecorded)
    {
        assert!(kept.allows(&name, &policy, unrecorded), "{label}: {unrecorded}");
        ours.retain(|line| line[2] != unrecorded);
    }
    let gave_back = |trace: &[Value]| trace.last().is_some_and(|line| line[1] == "unlock");
    if result.is_err() && gave_back(&ours) && !gave_back(&theirs) {
        assert!(kept.allows(&name, &policy, "unlock after an error"), "{label}: unlock");
        ours.pop();
    }
    assert_eq!(ours.len(), theirs.len(), "{label}:\n{ours:#?}\n{theirs:#?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(*ours, recorded(theirs, ours), "{label}");
    }

    let left = &case["final"];
    let sessions: Vec<Value> =
        host.sessions.iter().map(|(s, (p, i))| json!([s.to_string(), p, i])).collect();
    assert_eq!(json!(sessions), left["sessions"], "{label}: sessions");
    assert_eq!(json!(host.nodes), left["nodes"], "{label}: nodes");
    let devices: BTreeMap<_, _> = host.devices.iter().map(|(n, d)| (n, &d.volume)).collect();
    assert_eq!(json!(devices), left["devices"], "{label}: devices");
    assert_eq!(json!(host.maps()), left["maps"], "{label}: maps");
    assert_eq!(json!(host.watched()), left["multipathd_paths"], "{label}: multipathd's paths");
}

#[test]
fn every_recorded_disconnect_is_repeated_command_by_command() {
    let cases = golden("disconnect");
    let kept = Kept { entries: golden("kept_divergences"), met: RefCell::default() };
    for case in &cases {
        check(case, &kept);
    }
    assert!(cases.len() >= 38, "only {} cases", cases.len());
    // A divergence that no longer occurs is none.
    let met = kept.met.into_inner();
    for (at, entry) in kept.entries.iter().enumerate() {
        assert!(met.contains(&at), "no longer occurs: {entry}");
        assert!(entry["reason"].as_str().unwrap().len() > 20, "{entry}");
    }
    println!("disconnect: {} cases compared, {} kept divergences", cases.len(), met.len());
}
