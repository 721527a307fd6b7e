//! Replays what os-brick's own connectors did to a scripted host: commands and their order,
//! sleeps, locks, outcome, end time and what is left.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests do")]

#[path = "support/brick_host.rs"]
mod brick_host;
mod support;

use std::collections::BTreeMap;
use std::rc::Rc;

use brick_host::{Host, text};
use castoff_pipeline::brick::connector::{Disconnect, disconnect_volume};
use castoff_pipeline::{Conf, Context, NovaProcess, Policy};
use castoff_ports::cinder::{IscsiData, IscsiPath};
use castoff_ports::{Lun, Process};
use serde_json::{Value, json};
use support::{Scripted, golden, kept_divergence, port, run, seconds};

fn data(props: &Value) -> IscsiData {
    let list = |key: &str| props[key].as_array().cloned().unwrap_or_default();
    let (portals, iqns, luns) = (list("target_portals"), list("target_iqns"), list("target_luns"));
    let paths = portals.iter().zip(&iqns).zip(&luns).map(|((portal, iqn), lun)| IscsiPath {
        portal: text(portal).as_str().into(),
        iqn: text(iqn).as_str().into(),
        lun: Lun(lun.as_u64().unwrap() as u32),
    });
    IscsiData {
        paths: paths.collect(),
        target_portal: text(&props["target_portal"]).as_str().into(),
        target_iqn: text(&props["target_iqn"]).as_str().into(),
        target_lun: Lun(props["target_lun"].as_u64().unwrap() as u32),
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

fn check(case: &Value) {
    let (name, policy) = (text(&case["name"]), text(&case["policy"]));
    let label = format!("{name} ({policy})");
    // What only the recorder left out.
    let ignored = ["multipathd show status"]
        .into_iter()
        .filter(|c| kept_divergence("disconnect", &name, &policy, c).is_some())
        .map(str::to_owned)
        .collect();
    let binding = Scripted::new(Host::new(&case["host"], ignored));
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
    if result.is_err() {
        assert!(kept_divergence("disconnect", &name, &policy, "unlock after an error").is_some());
        assert_eq!(ours.pop().unwrap()[1], "unlock", "{label}: the lock is given back");
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
    let mut replayed = 0;
    for case in golden("disconnect") {
        let (name, policy) = (text(&case["name"]), text(&case["policy"]));
        if kept_divergence("disconnect", &name, &policy, "skip").is_none() {
            check(&case);
            replayed += 1;
        }
    }
    assert!(replayed >= 34, "only {replayed} cases");
}

#[test]
fn every_kept_divergence_belongs_to_a_recorded_case() {
    let cases = golden("disconnect");
    for kept in golden("kept_divergences") {
        assert_eq!(kept["file"], "disconnect");
        let found = cases.iter().any(|c| {
            (kept["case"] == "*" || c["name"] == kept["case"])
                && (kept["policy"] == "*" || c["policy"] == kept["policy"])
        });
        assert!(found, "{kept}");
        assert!(kept["reason"].as_str().unwrap().len() > 20);
    }
}
