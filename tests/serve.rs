//! `castoff serve` over its sockets: what a client sees, and what the admin port does.
//!
//! The whole server runs in this process, a thousand times faster than real time.

// Helpers of tests: what they unwrap is what is tested.
#![allow(clippy::unwrap_used)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castoff::serve::{self, Config, Credentials};
use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::SimTime;
use futures::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const SERVER: &str = "c2486c45-5a8f-4028-8cd1-51c0425f677a";
const VOLUME: &str = "30d72547-9316-4c2a-84c9-6ebc30912e01";

/// One answer: its status, its headers' X-Subject-Token, its JSON.
struct Answer {
    status: StatusCode,
    token: Option<String>,
    body: Value,
}

/// Nothing when the connection breaks.
async fn send(method: Method, url: &str, token: Option<&str>, body: Value) -> Option<Answer> {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let stream = TcpStream::connect(host).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::task::spawn_local(connection);
    let mut request =
        Request::builder().method(method).uri(format!("/{path}")).header("host", host);
    if let Some(token) = token {
        request = request.header("x-auth-token", token);
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.ok()?;
    let status = response.status();
    let header = response.headers().get("x-subject-token");
    let token = header.map(|v| v.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some(Answer { status, token, body: serde_json::from_slice(&body).unwrap_or_default() })
}

struct Client {
    at: Credentials,
    token: String,
}

impl Client {
    async fn log_in(at: Credentials) -> Client {
        let user = &at.accounts[0];
        let domain = json!({"id": "default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": user.username, "password": user.password.reveal(), "domain": domain,
            }}},
            "scope": {"project": {"name": user.project, "domain": domain}},
        }});
        let url = format!("{}/auth/tokens", at.auth_url);
        let answer = send(Method::POST, &url, None, body).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED);
        let urls = answer.body["token"]["catalog"].to_string();
        assert!(urls.contains(&at.compute) && urls.contains(&at.volume), "{urls}");
        assert!(!urls.contains("http://cinder"), "{urls}");
        Client { token: answer.token.unwrap(), at }
    }

    async fn detach(&self) -> Option<StatusCode> {
        let url = format!("{}/servers/{SERVER}/os-volume_attachments/{VOLUME}", self.at.compute);
        send(Method::DELETE, &url, Some(&self.token), Value::Null).await.map(|a| a.status)
    }

    async fn volume_status(&self) -> String {
        let url = format!("{}/volumes/{VOLUME}", self.at.volume);
        let answer = send(Method::GET, &url, Some(&self.token), Value::Null).await.unwrap();
        answer.body["volume"]["status"].as_str().unwrap().to_owned()
    }

    async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        send(method, &format!("{}/castoff/{path}", self.at.admin), None, body).await.unwrap()
    }

    async fn world(&self) -> Value {
        self.admin(Method::GET, "world", Value::Null).await.body
    }

    /// The world, once nobody works on anything.
    async fn quiet(&self) -> Value {
        for _ in 0..1_000 {
            let world = self.world().await;
            if world["quiet"] == true {
                return world;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still at work after ten seconds")
    }

    async fn broken(&self) -> Vec<String> {
        let body = self.admin(Method::GET, "properties", Value::Null).await.body;
        let names = body["violations"].as_array().unwrap().iter();
        names.map(|v| v["property"].as_str().unwrap().to_owned()).collect()
    }
}

/// Serves `healthy` and runs `body` as its client.
fn served<F: Future<Output = ()>>(body: impl FnOnce(Rc<Client>) -> F) {
    served_scenario("healthy", body);
}

/// Serves this scenario and runs `body` as its client.
fn served_scenario<F: Future<Output = ()>>(name: &str, body: impl FnOnce(Rc<Client>) -> F) {
    let config = Config {
        scenario: Arc::new(castoff_scenarios::resolve(name).unwrap()),
        policy: Policy::named("2026.1").unwrap(),
        release: Release::named("2026.1").unwrap(),
        listen: "127.0.0.1".parse().unwrap(),
        port_base: 0,
        speed: 1000,
        start: SimTime::ZERO,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let credentials = serve::start(&config).await.unwrap();
        body(Rc::new(Client::log_in(credentials).await)).await;
    });
}

#[test]
fn a_delete_is_accepted_and_the_volume_becomes_available() {
    served(|client| async move {
        assert_eq!(client.volume_status().await, "in-use");
        assert_eq!(client.detach().await, Some(StatusCode::ACCEPTED));
        let world = client.quiet().await;
        assert_eq!(client.volume_status().await, "available");
        for left in ["attachments", "bdms", "guest_disks", "sessions", "devices", "mappings"] {
            assert_eq!(world[left], json!([]), "{left}");
        }
        assert!(client.broken().await.is_empty());
    });
}

#[test]
fn a_guest_that_never_lets_go_keeps_its_disk_until_it_is_healed_and_asked_again() {
    served(|client| async move {
        let knob = json!({"guest": {"lets_go": "never"}});
        let answer = client.admin(Method::POST, "faults", knob).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(client.detach().await, Some(StatusCode::ACCEPTED));
        let world = client.quiet().await;
        assert_eq!(client.volume_status().await, "in-use");
        assert_eq!(world["guest_disks"][0]["volume"], VOLUME);
        client.admin(Method::DELETE, "faults", Value::Null).await;
        client.quiet().await;
        assert_eq!(client.detach().await, Some(StatusCode::ACCEPTED));
        client.quiet().await;
        assert_eq!(client.volume_status().await, "available");
    });
}

#[test]
fn a_lost_cast_leaves_the_volume_detaching_and_the_admin_port_says_what_is_broken() {
    served(|client| async move {
        let at = json!({"process": "nova-api", "operation": "rpc::Cast"});
        let fault = json!({"at": at, "strike": {"kind": "lost"}});
        let answer = client.admin(Method::POST, "faults", fault).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        assert_eq!(client.detach().await, Some(StatusCode::ACCEPTED));
        client.quiet().await;
        assert_eq!(client.volume_status().await, "detaching");
        let faults = client.admin(Method::GET, "faults", Value::Null).await.body;
        assert_eq!(faults["struck"].as_array().unwrap().len(), 1);
        assert_eq!(client.broken().await, ["L1", "L2"]);
    });
}

#[test]
fn a_crash_of_nova_api_breaks_the_connection_and_its_restart_lets_clients_in_again() {
    served(|client| async move {
        let at = json!({"process": "nova-api", "operation": "cinder::BeginDetaching"});
        let strike = json!({"kind": "crash-before", "restart_after_ms": 60_000});
        client.admin(Method::POST, "faults", json!({"at": at, "strike": strike})).await;
        assert_eq!(client.detach().await, None);
        assert_eq!(client.world().await["processes"]["nova-api"], false);
        client.admin(Method::DELETE, "faults", Value::Null).await;
        assert_eq!(client.detach().await, Some(StatusCode::ACCEPTED));
        client.quiet().await;
        assert_eq!(client.volume_status().await, "available");
    });
}

#[test]
fn a_cast_waits_for_a_dead_nova_compute_and_is_carried_out_when_it_is_back() {
    served(|client| async move {
        let crash = json!({"crash": {"process": "nova-compute"}});
        client.admin(Method::POST, "faults", crash).await;
        assert_eq!(client.detach().await, Some(StatusCode::ACCEPTED));
        let world = client.quiet().await;
        assert_eq!(world["broker"]["queued"].as_array().unwrap().len(), 1);
        assert_eq!(client.volume_status().await, "detaching");
        client.admin(Method::DELETE, "faults", Value::Null).await;
        client.quiet().await;
        assert_eq!(client.volume_status().await, "available");
    });
}

#[test]
fn volumes_are_listed_and_made_and_seen_by_who_has_a_token_only() {
    served(|client| async move {
        let url = format!("{}/volumes", client.at.volume);
        let body = json!({"volume": {"size": 2}});
        let made = send(Method::POST, &url, Some(&client.token), body).await.unwrap();
        assert_eq!(made.status, StatusCode::ACCEPTED);
        let list = format!("{url}/detail");
        let listed = send(Method::GET, &list, Some(&client.token), Value::Null).await.unwrap();
        let listed = listed.body["volumes"].as_array().unwrap();
        assert!(listed.iter().any(|v| v["id"] == made.body["volume"]["id"]));
        assert!(listed.iter().any(|v| v["id"] == VOLUME));
        let nobody = send(Method::GET, &list, None, Value::Null).await.unwrap();
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    });
}

#[test]
fn the_admin_port_refuses_what_it_does_not_know_and_shows_no_secret() {
    served(|client| async move {
        let at = json!({"process": "nova-compute", "operation": "cinder::AttachmentDelete"});
        let lost = json!({"kind": "reply-lost"});
        let ages = u64::MAX;
        for (wrong, told) in [
            (
                json!({"at": {"process": "nova-api", "operation": "rpc::Nothing"}, "strike": {"kind": "lost"}}),
                "rpc::Nothing",
            ),
            (
                json!({"at": {"process": "client", "operation": "rpc::Cast"}, "strike": {"kind": "lost"}}),
                "the client is outside",
            ),
            (
                json!({"at": {"process": "nova-api", "operation": "rpc::Cast", "nth": 0}, "strike": lost}),
                "counted from 1",
            ),
            (json!({"at": at, "strike": {"kind": "http-error", "status": 200}}), "400 to 599"),
            (json!({"at": at, "strike": {"kind": "delay", "ms": ages}}), "0 to 86400000"),
            (json!({"at": at, "strike": {"kind": "command-fails", "exit": 1}}), "cannot strike"),
            (json!({"at": at, "strike": lost, "policies": ["pike"]}), "policy is 2026.1"),
            (json!({"at": at, "strike": lost, "guest": {}}), "unknown field `guest`"),
            (json!({}), "nothing to do"),
            (json!([]), "neither a fault"),
            (json!({"guest": {"lets_go": "perhaps"}}), "perhaps"),
            (json!({"gest": {}}), "gest"),
            (json!({"host": {"multipath": true}}), "unknown field `multipath`"),
            (json!({"guest": {"lets_go": {"after_ms": ages}}}), "0 to 86400000"),
            (json!({"host": {"device_lingers": {"for_ms": ages}}}), "0 to 86400000"),
            (json!({"token": {"lifetime_s": ages}}), "1 to 31536000"),
            (json!({"token": {"lifetime_s": 0}}), "1 to 31536000"),
            (
                json!({"crash": {"process": "nova-compute", "restart_after_ms": ages}}),
                "0 to 86400000",
            ),
        ] {
            let answer = client.admin(Method::POST, "faults", wrong.clone()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
            let error = answer.body["error"].as_str().unwrap();
            assert!(error.contains(told), "{wrong}: {error}");
            let found = !wrong.to_string().contains(&ages.to_string());
            assert!(found || error.contains(&ages.to_string()), "{wrong}: {error}");
        }
        let twice = json!({"at": at, "strike": lost});
        let answer = client.admin(Method::POST, "faults", twice.clone()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let answer = client.admin(Method::POST, "faults", twice).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let world = client.world().await.to_string();
        assert!(!world.contains(&client.token) && !world.contains("password"));
        assert_eq!(client.admin(Method::GET, "no", Value::Null).await.status, 404);
        assert_eq!(client.admin(Method::POST, "world", json!({})).await.status, 405);
    });
}

#[test]
fn sixty_four_clients_at_once_attach_and_detach_and_nothing_is_broken() {
    served_scenario("tests/load/load.toml", |client| async move {
        let list = |url: String| {
            let client = client.clone();
            async move {
                let listed = send(Method::GET, &url, Some(&client.token), Value::Null).await;
                let listed = listed.unwrap().body;
                let rows = listed.as_object().unwrap().values().next().unwrap().clone();
                rows.as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>()
            }
        };
        let servers = list(format!("{}/servers", client.at.compute)).await;
        let volumes = list(format!("{}/volumes", client.at.volume)).await;
        assert_eq!((servers.len(), volumes.len()), (64, 64));
        let pairs: Vec<_> = servers.iter().zip(&volumes).collect();
        let attachments = |server: &Value| {
            let server = server.as_str().unwrap();
            format!("{}/servers/{server}/os-volume_attachments", client.at.compute)
        };
        let attach = |(server, volume): &(&Value, &Value)| {
            let (url, client) = (attachments(server), client.clone());
            let body = json!({"volumeAttachment": {"volumeId": volume}});
            async move { send(Method::POST, &url, Some(&client.token), body).await.unwrap().status }
        };
        let detach = |(server, volume): &(&Value, &Value)| {
            let url = format!("{}/{}", attachments(server), volume.as_str().unwrap());
            let client = client.clone();
            async move {
                let answer = send(Method::DELETE, &url, Some(&client.token), Value::Null).await;
                answer.unwrap().status
            }
        };
        let attached = join_all(pairs.iter().map(attach)).await;
        assert_eq!(attached, [StatusCode::OK; 64]);
        assert_eq!(client.quiet().await["guest_disks"].as_array().unwrap().len(), 64);
        let detached = join_all(pairs.iter().map(detach)).await;
        assert_eq!(detached, [StatusCode::ACCEPTED; 64]);
        let world = client.quiet().await;
        for left in ["attachments", "bdms", "guest_disks", "sessions", "devices", "mappings"] {
            assert_eq!(world[left], json!([]), "{left}");
        }
        assert!(client.broken().await.is_empty());
    });
}
