//! The HTTP client of `castoff compute` against the models' HTTP servers, over real sockets on
//! loopback: what it asks is understood, and what is answered it reads.

#![cfg(feature = "openstack")]
#![allow(clippy::unwrap_used, reason = "what a test unwraps is what is tested")]

use std::rc::Rc;
use std::time::Duration;

use castoff::serve::{self, Config, Credentials};
use castoff_model::Release;
use castoff_openstack::{Clock, Endpoint, HttpClient, RequestInfo, Requests};
use castoff_pipeline::policy::Policy;
use castoff_ports::cinder::{self, Volume, VolumeStatus};
use castoff_ports::keystone;
use castoff_ports::{
    Auth, Call, CallCx, Failure, Operation, Process, Refusal, RequestId, Secret, SimTime,
};

const VOLUME: &str = "30d72547-9316-4c2a-84c9-6ebc30912e01";
/// The moment of the served cloud's beginning, and of the client's.
const NOW: SimTime = SimTime(1_000_000_000_000);

struct Client {
    http: HttpClient,
    requests: Rc<Requests>,
    auth: Auth,
}

impl Client {
    fn of(at: &Credentials) -> Client {
        let requests = Rc::new(Requests::default());
        let endpoint = |url: &str| Endpoint::parse(url).unwrap();
        let http = HttpClient::new(
            endpoint(&at.auth_url),
            endpoint(&at.volume),
            Clock::of_run(SimTime::ZERO),
            requests.clone(),
            Some(Duration::from_secs(60)),
        );
        Client { http, requests, auth: Auth::default() }
    }

    async fn ask<O: Operation>(&self, op: O) -> Result<O::Reply, Failure> {
        let name = "req-0c2e8a3c-6d0f-4b7e-9a57-7e9a5ad2f0c1".to_owned();
        let request = self.requests.number(RequestInfo { name, user: None, project: None });
        let cx = CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request,
            auth: self.auth.clone(),
            deadline: None,
        };
        self.http.call(&cx, op.into_call()).await.map(|reply| O::from_reply(reply).unwrap())
    }

    async fn volume(&self) -> Volume {
        let get = cinder::GetVolume { volume_id: VOLUME.into(), microversion: 48 };
        self.ask(get).await.unwrap()
    }
}

/// Serves the scenario's cloud and runs `body` against it.
fn against_a_served_cloud<F: Future<Output = ()>>(body: impl FnOnce(Credentials) -> F) {
    let policy = Policy::named("2026.1").unwrap();
    let config = Config {
        scenario: std::sync::Arc::new(castoff_scenarios::resolve("healthy").unwrap()),
        release: Release::named(&policy.default_release).unwrap(),
        policy,
        listen: "127.0.0.1".parse().unwrap(),
        port_base: 0,
        speed: 1,
        start: NOW,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let credentials = serve::start(&config).await.unwrap();
        body(credentials).await;
    });
}

#[test]
fn a_detach_begins_and_is_rolled_back_over_real_sockets() {
    against_a_served_cloud(|at| async move {
        let mut client = Client::of(&at);
        let account = at.accounts.first().unwrap();
        let login = keystone::CreateToken {
            user: account.username.as_str().into(),
            password: account.password.clone(),
            project: account.project.as_str().into(),
        };
        let issued = client.ask(login).await.unwrap();
        client.auth.token = Some(issued.token.clone());
        let validate = keystone::ValidateToken { subject: issued.token, allow_expired: false };
        assert_eq!(client.ask(validate).await.unwrap().user_id, issued.info.user_id);

        assert_eq!(client.volume().await.status, VolumeStatus::InUse);
        let begin = || cinder::BeginDetaching { volume_id: VOLUME.into() };
        client.ask(begin()).await.unwrap();
        assert_eq!(client.volume().await.status, VolumeStatus::Detaching);
        let again = client.ask(begin()).await.unwrap_err();
        assert_eq!(again.http_status(), Some(400), "{again}");
        client.ask(cinder::RollDetaching { volume_id: VOLUME.into() }).await.unwrap();
        assert_eq!(client.volume().await.status, VolumeStatus::InUse);
    });
}

#[test]
fn a_refusal_is_the_services_and_nobody_there_has_no_effect() {
    against_a_served_cloud(|at| async move {
        let mut client = Client::of(&at);
        client.auth.token = Some(Secret::new("bad"));
        let get = || cinder::GetVolume { volume_id: VOLUME.into(), microversion: 48 };
        assert_eq!(client.ask(get()).await.unwrap_err().http_status(), Some(401));
        let nowhere = Credentials { volume: "http://127.0.0.1:1/v3".to_owned(), ..at };
        let failure = Client::of(&nowhere).ask(get()).await.unwrap_err();
        assert_eq!(failure, Failure::Unreachable { system: "cinder".to_owned() });
    });
}

#[test]
fn what_is_no_http_service_is_not_asked_for() {
    against_a_served_cloud(|at| async move {
        let client = Client::of(&at);
        let cx = CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request: RequestId(1),
            auth: Auth::default(),
            deadline: None,
        };
        let call = castoff_ports::libvirt::GetInfo { instance: "i1".into() }.into_call();
        assert!(matches!(call, Call::Libvirt(_)));
        let refused = client.http.call(&cx, call).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused(Refusal::Unsupported { .. })), "{refused}");
    });
}
