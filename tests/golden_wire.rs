//! Recorded wire sessions, replayed: castoff must answer as the real services did.
//!
//! Every JSON file in `tests/golden/wire` is a session, recorded from Keystone 29, Cinder 28 and
//! Nova 33; a new one needs no change here. Keystone's and Cinder's steps
//! are put to the pure functions of `castoff_model::wire`, Nova's to router, pipeline and models
//! on `direct`, all over one world. Ids are learnt from the answers; status, headers, keys, types,
//! values and messages must agree. What does not, and stays so, is in
//! `tests/golden/divergences.toml`; anything else fails, and so does a divergence that is gone.
//!
//! - `session`: the files. - `cloud`: what the requests are put to. - `nova`: nova's processes.
//! - `boot`: the server that castoff cannot make. - `ids`: recorded to ours.
//! - `compare`: two responses. - `divergences`: what may differ. - `tally`: the table.

#![allow(clippy::print_stdout, reason = "the table is for who runs it")]

#[path = "golden_wire/boot.rs"]
mod boot;
#[path = "golden_wire/cloud.rs"]
mod cloud;
#[path = "golden_wire/compare.rs"]
mod compare;
#[path = "golden_wire/divergences.rs"]
mod divergences;
#[path = "golden_wire/ids.rs"]
mod ids;
#[path = "golden_wire/nova.rs"]
mod nova;
#[path = "golden_wire/session.rs"]
mod session;
#[path = "golden_wire/tally.rs"]
mod tally;

use std::path::Path;

use cloud::Cloud;
use compare::{Difference, differences};
use divergences::{Divergences, Verdict};
use session::{Session, Step};
use tally::Tally;

fn replay(cloud: &mut Cloud, session: &Session, known: &mut Divergences) -> Tally {
    let mut tally = Tally::new(&session.name, session.steps.len());
    cloud.begin_session();
    for (index, step) in session.steps.iter().enumerate() {
        cloud.begin(session, index, known.building());
        if known.is_outside(step) {
            match cloud.send(step, step.who.as_deref()).status().as_u16() {
                404 => tally.outside += 1,
                _ => tally.fails(index, step, "is answered now: take it out of divergences.toml"),
            }
            if step.request.url.ends_with("/servers") {
                cloud.boot(step, step.who.as_deref().unwrap_or_default());
            }
            continue;
        }
        let other = known.other_caller(step);
        if other.is_some() && differing(cloud, known, step, step.who.as_deref()).is_empty() {
            tally.fails(index, step, "agrees as the record says it was sent");
        }
        let who = other.as_deref().or(step.who.as_deref());
        let differing = differing(cloud, known, step, who);
        match known.judge(&session.name, index, step, &differing) {
            Verdict::Agrees if other.is_some() => tally.recorded_as += 1,
            Verdict::Agrees => tally.agree += 1,
            Verdict::Kept => tally.kept += 1,
            Verdict::Fails(why) => tally.fails(index, step, &why),
        }
    }
    tally
}

/// Where our response to a step differs from the recorded one.
fn differing(
    cloud: &mut Cloud,
    known: &mut Divergences,
    step: &Step,
    who: Option<&str>,
) -> Vec<Difference> {
    let ours = cloud.send(step, who);
    let mut ids = cloud.ids.clone();
    let found = known.unexplained(differences(&step.response, &ours, &mut ids));
    // A response that differs teaches nothing.
    if found.is_empty() {
        cloud.ids = ids;
    }
    found
}

/// Replays the sessions of a folder.
fn replay_all(folder: &Path, known: &mut Divergences) -> Vec<Tally> {
    let mut tallies = Vec::new();
    for sessions in session::load_all(folder) {
        let mut cloud = Cloud::new();
        tallies.extend(sessions.iter().map(|session| replay(&mut cloud, session, known)));
    }
    tallies
}

#[test]
fn castoff_answers_as_the_recorded_services_did() {
    let mut known = Divergences::load();
    let tallies = replay_all(&session::folder(), &mut known);
    print!("{}", tally::table(&tallies));
    let failures = tallies.into_iter().flat_map(|tally| tally.failures);
    let failures: Vec<String> = failures.chain(known.unused()).collect();
    assert!(failures.is_empty(), "{} disagreements:\n{}", failures.len(), failures.join("\n"));
}

/// A file dropped into the folder is a session like the others, whatever its name: one that is
/// as recorded agrees, one that is not fails, in its place among the sessions of its cloud.
#[test]
fn a_new_file_in_the_folder_is_replayed() {
    let folder = tempfile::tempdir().expect("a folder for this test can be made");
    let recorded = session::folder();
    for name in ["cinder-setup", "nova-setup", "nova-volume-attachments"] {
        let name = format!("{name}.json");
        std::fs::copy(recorded.join(&name), folder.path().join(&name)).expect("it can be copied");
    }
    let text = std::fs::read_to_string(recorded.join("nova-server-show.json"));
    let text = text.expect("the session can be read");
    let right = folder.path().join("a-new-session.json");
    std::fs::write(&right, &text).expect("a session can be written");
    let wrong = text.replace("\"name\": \"s1\"", "\"name\": \"another\"");
    assert_ne!(text, wrong);
    std::fs::write(folder.path().join("a-wrong-one.json"), wrong).expect("so can this");

    let tallies = replay_all(folder.path(), &mut Divergences::load());
    let of = |name: &str| tallies.iter().find(|t| t.session == name).expect("it was replayed");
    assert_eq!((of("a-new-session").agree, of("a-new-session").failures.len()), (8, 0));
    assert_eq!((of("a-wrong-one").agree, of("a-wrong-one").failures.len()), (1, 7));
}
