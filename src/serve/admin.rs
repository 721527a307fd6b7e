//! The admin port: faults in, the world and what is broken out.
//!
//! | request | does |
//! |---|---|
//! | `POST /castoff/faults` | arms a fault (`{"at": …, "strike": …}`), or turns knobs of the cloud (`{"guest": {"lets_go": "never"}}`) |
//! | `DELETE /castoff/faults` | heals: what has not struck never will, guests answer, processes start |
//! | `GET /castoff/faults` | which faults struck, which wait |
//! | `GET /castoff/world` | what every system holds |
//! | `GET /castoff/properties` | what was broken so far |

use std::rc::Rc;
use std::time::Duration;

use castoff_model::{hypervisor, kernel};
use castoff_ports::Process;
use castoff_ports::plan::Fault;
use castoff_scenarios::check::{
    check_device_lingers, check_fault, check_guest, check_host_events, check_restart, check_token,
};
use castoff_scenarios::{GuestSpec, HostEvent, LetsGo, Linger, POLICIES, Problem, TokenSpec};
use castoff_sim::prepare::heal_world;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::show;

/// "Promptly", as measured: 70 to 700 ms.
const PROMPTLY: Duration = Duration::from_millis(385);

/// How the outside behaves from now on: the words of scenario files.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Knobs {
    guest: Option<GuestSpec>,
    host: Option<HostKnob>,
    token: Option<TokenSpec>,
    storage: Option<StorageKnob>,
    crash: Option<Crash>,
}

/// The compute host, but for what nova.conf says of it: that is read at its start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostKnob {
    device_lingers: Option<Linger>,
    #[serde(default)]
    writeback: bool,
    #[serde(default, rename = "event")]
    events: Vec<HostEvent>,
}

/// The storage backend's network.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageKnob {
    reachable: bool,
}

/// A process dies here and now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Crash {
    process: Process,
    #[serde(default)]
    restart_after_ms: Option<u64>,
}

/// Answers a request to the admin port.
pub(super) fn answer(cloud: &Rc<Cloud>, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    let path = request.uri().path().trim_end_matches('/');
    match (request.method(), path) {
        (&Method::POST, "/castoff/faults") => match post(cloud, request.body()) {
            Ok(()) => json_response(StatusCode::ACCEPTED, &json!({"accepted": true})),
            Err(problem) => json_response(StatusCode::BAD_REQUEST, &json!({"error": problem})),
        },
        (&Method::DELETE, "/castoff/faults") => {
            heal(cloud);
            json_response(StatusCode::OK, &json!({"healed": true}))
        }
        (&Method::GET, "/castoff/faults") => {
            let faults = cloud.faults();
            let body = json!({"struck": faults.struck(), "waiting": faults.waiting()});
            json_response(StatusCode::OK, &body)
        }
        (&Method::GET, "/castoff/world") => json_response(StatusCode::OK, &show::world(cloud)),
        (&Method::GET, "/castoff/properties") => {
            json_response(StatusCode::OK, &show::properties(cloud))
        }
        (_, "/castoff/faults" | "/castoff/world" | "/castoff/properties") => json_response(
            StatusCode::METHOD_NOT_ALLOWED,
            &json!({"error": format!("{path} does not take {}", request.method())}),
        ),
        _ => json_response(
            StatusCode::NOT_FOUND,
            &json!({"error": format!(
                "no {path} here: there are /castoff/faults, /castoff/world and /castoff/properties"
            )}),
        ),
    }
}

/// As many faults may wait at once: each call of the pipeline is held against all of them.
const MAX_WAITING: usize = 1000;

fn post(cloud: &Rc<Cloud>, body: &[u8]) -> Result<(), String> {
    let body: Value = serde_json::from_slice(body).map_err(|e| format!("not JSON: {e}"))?;
    if body.get("at").is_some() || body.get("strike").is_some() {
        let fault: Fault = serde_json::from_value(body).map_err(|e| format!("no fault: {e}"))?;
        return arm(cloud, fault);
    }
    let knobs: Knobs = serde_json::from_value(body)
        .map_err(|e| format!("neither a fault ({{\"at\": …, \"strike\": …}}) nor a knob: {e}"))?;
    turn(cloud, knobs)
}

fn arm(cloud: &Rc<Cloud>, fault: Fault) -> Result<(), String> {
    none_of(&check_fault(&fault, POLICIES))?;
    if fault.at.process == Process::Client {
        return Err("the client is outside: faults strike nova-api and nova-compute".to_owned());
    }
    if !fault.applies_to(cloud.policy()) {
        let policies = fault.policies.join(", ");
        return Err(format!(
            "a fault of runs under {policies}: this cloud's policy is {}",
            cloud.policy()
        ));
    }
    let waiting = cloud.faults().waiting();
    if waiting.iter().any(|f| f.at == fault.at) {
        return Err("a fault waits at this point already; only one can strike there".to_owned());
    }
    if waiting.len() >= MAX_WAITING {
        return Err(format!(
            "{} faults wait, at most {MAX_WAITING} can: DELETE /castoff/faults forgets them",
            waiting.len()
        ));
    }
    cloud.faults().arm(fault);
    Ok(())
}

/// The problems as one text, if there are any.
fn none_of(problems: &[Problem]) -> Result<(), String> {
    if problems.is_empty() {
        return Ok(());
    }
    let told = problems.iter().map(|p| match &p.help {
        None => p.to_string(),
        Some(help) => format!("{p} ({help})"),
    });
    Err(told.collect::<Vec<_>>().join("; "))
}

fn turn(cloud: &Rc<Cloud>, knobs: Knobs) -> Result<(), String> {
    let Knobs { guest, host, token, storage, crash } = &knobs;
    if guest.is_none() && host.is_none() && token.is_none() && storage.is_none() && crash.is_none()
    {
        return Err("nothing to do: expected a fault ({\"at\": …, \"strike\": …}), or one of \
                    guest, host, token, storage and crash"
            .to_owned());
    }
    if crash.as_ref().is_some_and(|c| c.process == Process::Client) {
        return Err("the client is outside: nova-api and nova-compute can crash".to_owned());
    }
    let mut problems = guest.as_ref().map(check_guest).unwrap_or_default();
    problems.extend(check_device_lingers(host.as_ref().and_then(|h| h.device_lingers)));
    problems.extend(check_host_events(host.as_ref().map_or(&[], |h| &h.events)));
    problems.extend(token.as_ref().map(check_token).unwrap_or_default());
    problems.extend(check_restart(crash.as_ref().and_then(|c| c.restart_after_ms)));
    none_of(&problems)?;
    cloud.with_world(|world, now| {
        if let Some(guest) = knobs.guest {
            let lets_go = match guest.lets_go {
                LetsGo::Promptly => hypervisor::LetsGo::After(PROMPTLY),
                LetsGo::AfterMs(ms) => hypervisor::LetsGo::After(Duration::from_millis(ms)),
                LetsGo::Never => hypervisor::LetsGo::Never,
            };
            world.hypervisor.set_lets_go(now, lets_go);
        }
        if let Some(host) = knobs.host {
            world.kernel.linger = host.device_lingers.map(|l| match l {
                Linger::ForMs(ms) => kernel::Linger::For(Duration::from_millis(ms)),
                Linger::Never => kernel::Linger::Never,
            });
            world.kernel.writeback = host.writeback;
            castoff_sim::host_spec::schedule(world, &host.events, now);
        }
        if let Some(token) = knobs.token {
            world.keystone.token_lifetime = Duration::from_secs(token.lifetime_s);
        }
        if let Some(storage) = knobs.storage {
            world.storage.reachable = storage.reachable;
        }
    });
    if let Some(crash) = knobs.crash {
        cloud.crash(crash.process, crash.restart_after_ms.map(Duration::from_millis));
    }
    Ok(())
}

fn heal(cloud: &Rc<Cloud>) {
    cloud.faults().heal();
    cloud.with_world(|world, now| {
        heal_world(world, now);
        world.storage.reachable = true;
    });
    cloud.restart(Process::NovaApi);
    cloud.restart(Process::NovaCompute);
}

fn json_response(status: StatusCode, body: &Value) -> Response<Vec<u8>> {
    let mut response = Response::new(format!("{body:#}\n").into_bytes());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}
