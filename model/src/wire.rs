//! The HTTP services as pure functions, request to response, over the same models.
//!
//! The hosts of the network binding, `serve` and the recorded sessions all go through here, without
//! a socket of ours: what the real service puts on the wire (status, headers that carry meaning,
//! body, error body) is decided in one place, and the answer is the model's own. Operations of
//! `castoff_ports` go to [`World::call`]; what only a service's API offers (lists, creating volumes,
//! revoking tokens) to the model itself; anything else is the service's 404.
//!
//! - [`cinder()`], [`keystone()`]: the services.
//! - [`rpc`]: the envelope of a cast to nova-compute.
//! - [`nova`]: nova-api's side of the wire; what it answers is the pipeline's business.
//! - [`client`]: what a caller sends, and what it makes of the answer.
//! - [`bdm`]: connection_info as nova keeps it in its own database.
//! - `message`, `token`, `volume`: headers and error bodies, tokens and volumes as JSON.
//! - `login`, `python`: the body of a login; values in messages, as Python writes them.
//!
//! Secrets travel in clear, in headers and bodies only: JSON is built by hand where one goes in.

#[cfg(test)]
mod api_tests;
pub mod bdm;
mod cinder;
pub mod client;
mod keystone;
mod login;
mod message;
pub mod nova;
#[cfg(test)]
mod nova_tests;
mod python;
pub mod rpc;
#[cfg(test)]
mod rpc_tests;
#[cfg(test)]
mod tests;
mod token;
mod volume;

pub use cinder::cinder;
pub use keystone::keystone;
pub use token::{date, parse_date};

use castoff_ports::{Auth, Call, CallCx, Failure, Process, Refusal, Reply, RequestId, SimTime};

use crate::{Outcome, World};

/// Puts one call to the world, as whoever sent the request.
fn ask(
    world: &mut World,
    now: SimTime,
    auth: Auth,
    request: Option<RequestId>,
    call: Call,
) -> Result<Reply, Refusal> {
    // Neither keystone nor cinder looks at the caller's process or request.
    let cx = CallCx {
        process: Process::Client,
        incarnation: 0,
        request: request.unwrap_or(RequestId(0)),
        auth,
        deadline: None,
    };
    match world.call(now, &cx, call) {
        Outcome::Done(Ok(reply)) => Ok(reply),
        Outcome::Done(Err(Failure::Refused(refusal))) => Err(refusal),
        outcome => unreachable!("a model's HTTP service answers at once, not {outcome:?}"),
    }
}
