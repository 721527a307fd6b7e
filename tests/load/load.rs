//! Load on a served cloud: many clients, each attaching a volume of its own to a server of its own
//! and detaching it again.
//!
//! `castoff serve` runs for hours in somebody's test bed, so what it must not do is what a short
//! test never sees: lose a request, break a property under many clients, or grow. Says how many
//! detaches a second there were and how long they took; fails on any error, any broken property,
//! or a grown server.
//!
//! Usage: `load CREDENTIALS.json SERVER_PID [SECONDS]`, where the credentials are what
//! `castoff serve --format json` prints. `tests/load/run.sh` starts both.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program at real time, which tells its user in words"
)]

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

/// Clients, each with a volume of its own.
const CLIENTS: usize = 64;

/// Between two looks at a volume's status.
const LOOK: Duration = Duration::from_millis(20);

/// A volume that has not arrived by then is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the server's memory is looked at for the first time: by then every table is warm.
const WARM: Duration = Duration::from_secs(15);

/// How much the server may grow from then to the end, in percent.
const MAX_GROWTH: u64 = 10;

/// What was said when something was not as it must be.
type Told<T> = Result<T, String>;

/// One connection, kept alive, to one port.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    base: String,
    token: Option<String>,
}

impl Connection {
    async fn open(url: &str, token: Option<&str>) -> Told<Connection> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, base) = match rest.find('/') {
            Some(i) => rest.split_at(i),
            None => (rest, ""),
        };
        let stream = TcpStream::connect(host).await.map_err(|e| format!("{host}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        spawn_local(connection);
        Ok(Connection {
            sender,
            host: host.to_owned(),
            base: base.to_owned(),
            token: token.map(str::to_owned),
        })
    }

    async fn send(&mut self, method: Method, path: &str, body: &Value) -> Told<Answer> {
        let what = format!("{method} {path}");
        let failed = |e: &dyn std::fmt::Display| format!("{what}: {e}");
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("host", &self.host);
        if let Some(token) = &self.token {
            request = request.header("x-auth-token", token);
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = request.body(Full::new(body)).map_err(|e| failed(&e))?;
        self.sender.ready().await.map_err(|e| failed(&e))?;
        let response = self.sender.send_request(request).await.map_err(|e| failed(&e))?;
        let status = response.status();
        let token = response.headers().get("x-subject-token");
        let token = token.and_then(|t| t.to_str().ok()).map(str::to_owned);
        let body = response.into_body().collect().await.map_err(|e| failed(&e))?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answer { what, status, token, body })
    }
}

struct Answer {
    what: String,
    status: StatusCode,
    token: Option<String>,
    body: Value,
}

impl Answer {
    fn must_be(self, wanted: StatusCode) -> Told<Answer> {
        if self.status == wanted {
            return Ok(self);
        }
        Err(format!("{}: {}, not {wanted}: {}", self.what, self.status, self.body))
    }
}

/// Where everything is.
struct Cloud {
    compute: String,
    volume: String,
    admin: String,
    token: String,
    servers: Vec<String>,
    volumes: Vec<String>,
}

/// The ids of a list of an answer.
fn ids(list: &Value) -> Vec<String> {
    let ids = list.as_array().into_iter().flatten().filter_map(|row| row["id"].as_str());
    ids.map(str::to_owned).collect()
}

async fn log_in(credentials: &Value) -> Told<Cloud> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let user = &credentials["accounts"][0];
    let domain = json!({"id": "default"});
    let identity = json!({"methods": ["password"], "password": {"user": {
        "name": user["username"], "password": user["password"], "domain": domain,
    }}});
    let scope = json!({"project": {"name": user["project"], "domain": domain}});
    let body = json!({"auth": {"identity": identity, "scope": scope}});
    let mut keystone = Connection::open(&text(&credentials["auth_url"]), None).await?;
    let answer = keystone.send(Method::POST, "/auth/tokens", &body).await?;
    let token = answer.must_be(StatusCode::CREATED)?.token.unwrap_or_default();
    let (compute, volume) = (text(&credentials["compute"]), text(&credentials["volume"]));
    let mut nova = Connection::open(&compute, Some(&token)).await?;
    let servers = nova.send(Method::GET, "/servers", &Value::Null).await?;
    let servers = ids(&servers.must_be(StatusCode::OK)?.body["servers"]);
    let mut cinder = Connection::open(&volume, Some(&token)).await?;
    let listed = cinder.send(Method::GET, "/volumes", &Value::Null).await?;
    let volumes = ids(&listed.must_be(StatusCode::OK)?.body["volumes"]);
    if servers.len() < CLIENTS || volumes.len() < CLIENTS {
        let found = format!("{} servers and {} volumes", servers.len(), volumes.len());
        return Err(format!("{found}, need {CLIENTS} of each"));
    }
    Ok(Cloud { compute, volume, admin: text(&credentials["admin"]), token, servers, volumes })
}

/// What all clients have done.
#[derive(Default)]
struct Tally {
    /// How long each detach took, from the 202 to `available`.
    detaches: RefCell<Vec<Duration>>,
    errors: RefCell<Vec<String>>,
}

/// Attaches and detaches one volume until `end`.
async fn client(cloud: &Cloud, n: usize, end: Instant, tally: &Tally) -> Told<()> {
    let (server, volume) = (&cloud.servers[n], &cloud.volumes[n]);
    let mut nova = Connection::open(&cloud.compute, Some(&cloud.token)).await?;
    let mut cinder = Connection::open(&cloud.volume, Some(&cloud.token)).await?;
    let attachments = format!("/servers/{server}/os-volume_attachments");
    let attach = json!({"volumeAttachment": {"volumeId": volume}});
    while Instant::now() < end {
        nova.send(Method::POST, &attachments, &attach).await?.must_be(StatusCode::OK)?;
        arrived(&mut cinder, volume, "in-use").await?;
        let path = format!("{attachments}/{volume}");
        nova.send(Method::DELETE, &path, &Value::Null).await?.must_be(StatusCode::ACCEPTED)?;
        let accepted = Instant::now();
        arrived(&mut cinder, volume, "available").await?;
        tally.detaches.borrow_mut().push(accepted.elapsed());
        // Nova destroys the BDM after cinder has made the volume available, and refuses to attach
        // what it still has a BDM of.
        forgotten(&mut nova, &path).await?;
    }
    Ok(())
}

async fn arrived(cinder: &mut Connection, volume: &str, wanted: &str) -> Told<()> {
    let (path, started) = (format!("/volumes/{volume}"), Instant::now());
    loop {
        let shown = cinder.send(Method::GET, &path, &Value::Null).await?;
        let status = &shown.must_be(StatusCode::OK)?.body["volume"]["status"];
        if status == wanted {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("volume {volume} is {status} after {PATIENCE:?}, not {wanted}"));
        }
        sleep(LOOK).await;
    }
}

async fn forgotten(nova: &mut Connection, attachment: &str) -> Told<()> {
    let started = Instant::now();
    loop {
        let shown = nova.send(Method::GET, attachment, &Value::Null).await?;
        if shown.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        shown.must_be(StatusCode::OK)?;
        if started.elapsed() > PATIENCE {
            return Err(format!("nova still has {attachment} after {PATIENCE:?}"));
        }
        sleep(LOOK).await;
    }
}

/// The server's resident memory, in KiB (proc(5), VmRSS).
fn resident(pid: &str) -> Told<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| format!("{path} has no VmRSS"))
}

/// The properties that are broken, once all is quiet.
async fn broken(cloud: &Cloud) -> Told<Vec<String>> {
    let started = Instant::now();
    let mut admin = Connection::open(&cloud.admin, None).await?;
    loop {
        let answer = admin.send(Method::GET, "/castoff/properties", &Value::Null).await?;
        let body = answer.must_be(StatusCode::OK)?.body;
        if body["quiet"] == true {
            let violations = body["violations"].as_array().into_iter().flatten();
            return Ok(violations.map(Value::to_string).collect());
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("still at work after {PATIENCE:?}"));
        }
        sleep(LOOK).await;
    }
}

/// The value below which so many percent of the sorted ones are; zero when there are none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

async fn load(credentials: &Value, pid: &str, lasts: Duration) -> Told<()> {
    let cloud = Rc::new(log_in(credentials).await?);
    let tally = Rc::new(Tally::default());
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (cloud, tally) = (cloud.clone(), tally.clone());
            spawn_local(async move {
                if let Err(error) = client(&cloud, n, started + lasts, &tally).await {
                    tally.errors.borrow_mut().push(error);
                }
            })
        })
        .collect();
    sleep(WARM.min(lasts / 2)).await;
    let (warm, early) = (started.elapsed(), resident(pid)?);
    for client in clients {
        client.await.map_err(|e| e.to_string())?;
    }
    let late = resident(pid)?;
    let seconds = started.elapsed().as_secs_f64();
    let errors = tally.errors.take();
    let mut took = tally.detaches.take();
    took.sort_unstable();
    println!(
        "{} detaches by {CLIENTS} clients in {seconds:.1} s: {:.1}/s, {} errors",
        took.len(),
        took.len() as f64 / seconds,
        errors.len()
    );
    let ms = |percent| percentile(&took, percent).as_millis();
    println!("from accepted to available: p50 {} ms, p99 {} ms", ms(50), ms(99));
    println!(
        "RSS of the server: {early} KiB after {:.0} s, {late} KiB at the end",
        warm.as_secs_f64()
    );
    if let Some(first) = errors.first() {
        return Err(format!("{} errors, the first: {first}", errors.len()));
    }
    let broken = broken(&cloud).await?;
    println!("{} properties broken", broken.len());
    if let Some(first) = broken.first() {
        return Err(format!("{} properties broken, the first: {first}", broken.len()));
    }
    if took.len() < CLIENTS {
        return Err(format!("{} detaches, need at least one a client", took.len()));
    }
    if late * 100 > early * (100 + MAX_GROWTH) {
        return Err(format!("the server grew by more than {MAX_GROWTH} %"));
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(path), Some(pid)) = (args.first(), args.get(1)) else {
        println!("usage: load CREDENTIALS.json SERVER_PID [SECONDS]");
        return ExitCode::from(2);
    };
    let seconds = args.get(2).map_or(Some(60), |s| s.parse().ok()).expect("SECONDS is a number");
    let text = std::fs::read_to_string(path).expect("CREDENTIALS.json can be read");
    let credentials = serde_json::from_str(&text).expect("CREDENTIALS.json is JSON");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the machine has file descriptors to spare");
    let load = load(&credentials, pid, Duration::from_secs(seconds));
    match LocalSet::new().block_on(&runtime, load) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("FAIL  {problem}");
            ExitCode::FAILURE
        }
    }
}
