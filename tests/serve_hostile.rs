//! `castoff serve` and clients that speak no HTTP, too much of it, or fall silent.
//!
//! Each of the four ports answers 4xx or closes the connection, within seconds; no task of the
//! server panics, and who behaves is served all the while.

// Helpers of tests: what they unwrap is what is tested.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use castoff::serve::{self, Config};
use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::SimTime;
use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any limit of the server, much shorter than for ever.
const SOON: Duration = Duration::from_secs(15);

/// One connection more than a port takes.
const TOO_MANY: usize = 201;

/// Panics anywhere in this process: a task of the server that panics is not heard of otherwise.
static PANICS: AtomicUsize = AtomicUsize::new(0);
static LISTEN: Once = Once::new();

/// Keystone, nova, cinder, admin: `host:port`.
type Ports = [String; 4];

/// What comes back until the server closes; nothing at all when it just closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is a closed connection, too.
    let closed = timeout(SOON, stream.read_to_end(&mut said)).await;
    assert!(closed.is_ok(), "still open after {SOON:?}: {:?}", String::from_utf8_lossy(&said));
    String::from_utf8_lossy(&said).into_owned()
}

/// Sends the bytes and nothing more, then reads to the end.
async fn said(port: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(port).await.unwrap();
    // The server may have closed before the last byte.
    let _ = timeout(SOON, stream.write_all(bytes)).await.expect("it reads or closes");
    rest(&mut stream).await
}

fn status(said: &str) -> Option<u16> {
    said.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")
}

/// Whoever behaves gets an answer; nobody has panicked.
async fn all_is_well(ports: &Ports) {
    let paths = ["/v3", "/v2.1", "/v3", "/castoff/properties"];
    for (port, path) in ports.iter().zip(paths) {
        let answer = said(port, request("GET", path, "").as_bytes()).await;
        assert!(status(&answer).is_some_and(|s| s < 500), "{port}{path}: {answer:?}");
    }
    let answer = said(&ports[3], request("GET", "/castoff/properties", "").as_bytes()).await;
    assert!(answer.contains("\"violations\": []"), "{answer}");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

/// Serves `healthy` and runs `body` against its ports.
fn served<F: Future<Output = ()>>(body: impl FnOnce(Ports) -> F) {
    LISTEN.call_once(|| {
        let old = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // What fails in this file is a test's own assertion.
            if info.location().is_none_or(|at| !at.file().ends_with("serve_hostile.rs")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            old(info);
        }));
    });
    let config = Config {
        scenario: Arc::new(castoff_scenarios::resolve("healthy").unwrap()),
        policy: Policy::named("2026.1").unwrap(),
        release: Release::named("2026.1").unwrap(),
        listen: "127.0.0.1".parse().unwrap(),
        port_base: 0,
        speed: 1000,
        start: SimTime::ZERO,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let at = serve::start(&config).await.unwrap();
        let ports = [at.auth_url, at.compute, at.volume, at.admin]
            .map(|url| url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned());
        body(ports.clone()).await;
        all_is_well(&ports).await;
    });
}

#[test]
fn what_is_no_http_is_answered_4xx_or_closed() {
    served(|ports| async move {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000));
        let cases: [&[u8]; 12] = [
            b"\r\n\r\n\r\n\r\nnothing\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello \r\n\r\n",
            b"\0\0\0\0\0\0\0\0\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            long.as_bytes(),
            many.as_bytes(),
        ];
        for (port, case) in ports.iter().flat_map(|p| cases.iter().map(move |c| (p, c))) {
            let answer = said(port, case).await;
            let shown = String::from_utf8_lossy(&case[..case.len().min(40)]).into_owned();
            let fine = answer.is_empty() || status(&answer).is_some_and(|s| s / 100 == 4);
            assert!(fine, "{port} {shown:?}: {answer:?}");
        }
    });
}

#[test]
fn a_huge_body_is_413_before_it_is_sent_and_while_it_is() {
    served(|ports| async move {
        for port in &ports {
            let head = request("POST", "/v3/auth/tokens", "content-length: 1099511627776\r\n");
            assert_eq!(status(&said(port, head.as_bytes()).await), Some(413), "{port}");
            // In chunks nobody knows how much will come: the last one here is one too many.
            let head = request("POST", "/v3/auth/tokens", "transfer-encoding: chunked\r\n");
            let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x1_0000));
            let body = format!("{head}{}1\r\n", chunk.repeat(16));
            let mut stream = TcpStream::connect(port).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
            let _ = stream.write_all(b"a\r\n").await;
            assert_eq!(status(&rest(&mut stream).await), Some(413), "{port}");
        }
    });
}

#[test]
fn broken_bodies_are_4xx() {
    served(|ports| async move {
        let deep = "[".repeat(100_000);
        let bodies: [&[u8]; 6] =
            [b"", b"{", b"\xff\xfe\0", b"null", b"{\"auth\": 7, \"volume\": []}", deep.as_bytes()];
        let server = "/v2.1/servers/c2486c45-5a8f-4028-8cd1-51c0425f677a";
        let attachments = format!("{server}/os-volume_attachments");
        let doors = ["/v3/auth/tokens", &attachments, "/v3/volumes", "/castoff/faults"];
        for (port, path) in ports.iter().zip(doors) {
            for body in bodies {
                let length = format!("content-length: {}\r\n", body.len());
                let bytes = [request("POST", path, &length).as_bytes(), body].concat();
                let answer = said(port, &bytes).await;
                assert_eq!(status(&answer).map(|s| s / 100), Some(4), "{path}: {answer:?}");
            }
            let chunked = request("POST", path, "transfer-encoding: chunked\r\n") + "zz\r\n\r\n";
            let answer = said(port, chunked.as_bytes()).await;
            assert_eq!(status(&answer), Some(400), "{path}: {answer:?}");
        }
    });
}

#[test]
fn unknown_routes_and_methods_are_4xx() {
    served(|ports| async move {
        let routes = [
            "/nothing",
            "/v9",
            "/v3/%00%ff",
            "/v2.1/servers/..%2f..",
            "/v3/volumes/-/action",
            "/castoff",
            "/castoff/faults/1",
            "/v3/auth/tokens/x",
            "http://elsewhere/x",
            "*",
        ];
        for (port, route) in ports.iter().flat_map(|p| routes.map(|r| (p, r))) {
            for method in ["PATCH", "TRACE", "OPTIONS", "PROPFIND", "DELETE", "PUT"] {
                let answer = said(port, request(method, route, "").as_bytes()).await;
                let fine = status(&answer).is_some_and(|s| s / 100 == 4);
                assert!(fine, "{port} {method} {route}: {answer:?}");
            }
        }
    });
}

#[test]
fn who_falls_silent_is_closed_and_others_are_served_meanwhile() {
    served(|ports| async move {
        let body_to_come = request("POST", "/v3/auth/tokens", "content-length: 100\r\n") + "{";
        let kept_alive = "GET /v3 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned();
        let starts = ["", "G", "GET / HTTP/1.1\r\nhost: x\r\n", &body_to_come, &kept_alive];
        let silent = ports.iter().flat_map(|p| starts.iter().map(move |s| said(p, s.as_bytes())));
        let meanwhile = all_is_well(&ports);
        let (answers, ()) = futures::join!(join_all(silent), meanwhile);
        for answers in answers.chunks(starts.len()) {
            assert_eq!(answers[..3], ["", "", ""]);
            assert_eq!(status(&answers[3]), Some(408), "{answers:?}");
            assert!(status(&answers[4]).is_some(), "{answers:?}");
        }
    });
}

#[test]
fn who_closes_its_half_or_goes_away_leaves_the_others_served() {
    served(|ports| async move {
        for port in &ports {
            for start in [
                "",
                "GET / HTTP/1.1\r\nhost: x\r\n",
                "POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n{",
            ] {
                let mut stream = TcpStream::connect(port).await.unwrap();
                stream.write_all(start.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                let answer = rest(&mut stream).await;
                let fine = answer.is_empty() || status(&answer).is_some_and(|s| s / 100 == 4);
                assert!(fine, "{port} {start:?}: {answer:?}");
            }
            for _ in 0..100 {
                let mut stream = TcpStream::connect(port).await.unwrap();
                stream.write_all(request("GET", "/v3", "").as_bytes()).await.unwrap();
            }
        }
    });
}

#[test]
fn one_connection_too_many_is_closed_at_once_and_the_next_finds_a_place_again() {
    served(|ports| async move {
        for port in &ports {
            let mut open = Vec::new();
            for _ in 1..TOO_MANY {
                open.push(TcpStream::connect(port).await.unwrap());
            }
            let mut last = TcpStream::connect(port).await.unwrap();
            let mut byte = [0];
            // Before the silent ones are.
            let closed = timeout(Duration::from_secs(2), last.read(&mut byte)).await;
            assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{port}: {closed:?}");
            drop(open);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}
