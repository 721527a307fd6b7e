//! nova-api over the wire on a small cloud in process: request, router, pipeline, models, response.
//!
//! One request is answered by a `Direct` of its own, which then runs until nothing moves, as the
//! recorder waited between two steps.

// Each test binary uses its own part.
#![allow(dead_code)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use castoff_model::wire::nova::{nova_answer, nova_request};
use castoff_model::{Outcome, Release, World};
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::Plan;
use castoff_ports::trace::Trace;
use castoff_ports::{Call, CallCx, Failure, Process, Reply, RequestId, Secret, SimTime, keystone};
use castoff_sim::direct::{Direct, Quiet};
use castoff_sim::observe::Observer;
use castoff_sim::prepare::{Prepared, client_cx};
use castoff_sim::properties::Checker;
use castoff_sim::rng::SimRng;
use http::{Request, Response};

/// Longer than any request with all that it starts.
const LIMIT: Duration = Duration::from_secs(3600);

/// The `healthy` scenario under a policy: a server with one volume attached.
pub(crate) fn healthy(policy: &str) -> Rc<Prepared> {
    let policy = Policy::named(policy).unwrap();
    let release = Release::named(&policy.default_release).unwrap();
    let scenario = castoff_scenarios::builtin::named("healthy").unwrap();
    Prepared::new(&scenario.into(), &policy, &release).unwrap()
}

/// A small cloud and its time.
pub(crate) struct Nova {
    pub(crate) prepared: Rc<Prepared>,
    pub(crate) world: World,
    pub(crate) now: SimTime,
    next: u32,
}

impl Nova {
    pub(crate) fn new(policy: &str) -> Nova {
        let prepared = healthy(policy);
        let world = prepared.world(&mut SimRng::new(0));
        Nova { now: prepared.start, world, prepared, next: 1 }
    }

    /// A token of this user, whose password is `<user>-password`.
    pub(crate) fn token(&mut self, user: &str, project: &str) -> Secret {
        let call = keystone::Call::CreateToken(keystone::CreateToken {
            user: user.into(),
            password: Secret::new(format!("{user}-password")),
            project: project.into(),
        });
        let cx = client_cx(RequestId(0));
        match self.world.call(self.now, &cx, Call::Keystone(call)) {
            Outcome::Done(Ok(Reply::Keystone(keystone::Reply::CreateToken(t)))) => t.token,
            other => panic!("{other:?}"),
        }
    }

    /// Sends requests, each after the answer to the one before it, then waits until all is quiet.
    pub(crate) fn ask(
        &mut self,
        plan: &Plan,
        requests: Vec<Request<Vec<u8>>>,
    ) -> Vec<Response<Vec<u8>>> {
        let observer = Observer::new(Trace::off(), Checker::default());
        let world = std::mem::replace(&mut self.world, World::new(self.prepared.release.clone()));
        let direct = Direct::new(&self.prepared, world, observer, plan, 1, self.now);
        let answers: Rc<RefCell<Vec<Response<Vec<u8>>>>> = Rc::default();
        let (first, told) = (self.next, answers.clone());
        self.next += requests.len() as u32;
        let binding = direct.binding();
        direct.core().spawn(
            Process::Client,
            Box::pin(async move {
                for (n, request) in (first..).zip(requests) {
                    let result = match nova_request(&request) {
                        Err(refusal) => Err(refusal),
                        Ok((call, auth, _)) => {
                            let cx = CallCx { auth, ..client_cx(RequestId(n)) };
                            match binding.call(&cx, Call::Nova(call)).await {
                                Ok(Reply::Nova(reply)) => Ok(reply),
                                Err(Failure::Refused(refusal)) => Err(refusal),
                                other => panic!("nova-api gave no answer: {other:?}"),
                            }
                        }
                    };
                    told.borrow_mut().push(nova_answer(&request, result));
                }
            }),
        );
        let quiet = direct.run_until_quiet(self.now + LIMIT);
        assert_eq!(quiet, Quiet::Quiet);
        self.now = direct.core().now();
        self.world = direct.core().world.borrow().clone();
        drop(direct);
        answers.take()
    }
}

/// A request with a token and a microversion, `x.y`.
pub(crate) fn request(
    method: &str,
    path: &str,
    token: Option<&Secret>,
    microversion: &str,
    body: Option<serde_json::Value>,
) -> Request<Vec<u8>> {
    let mut builder = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        builder = builder.header("X-Auth-Token", token.reveal());
    }
    if !microversion.is_empty() {
        builder = builder.header("OpenStack-API-Version", format!("compute {microversion}"));
    }
    builder.body(body.map_or_else(Vec::new, |b| b.to_string().into_bytes())).unwrap()
}

/// An error body's message, or nothing.
pub(crate) fn message(response: &Response<Vec<u8>>) -> String {
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let error = body.as_object().and_then(|o| o.values().next().cloned()).unwrap_or_default();
    error["message"].as_str().unwrap_or_default().to_owned()
}
