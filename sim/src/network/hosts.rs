//! What runs on each turmoil host.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use castoff_model::broker::Message;
use castoff_model::wire;
use castoff_model::wire::nova::{nova_answer, nova_request};
use castoff_pipeline::{init_host, nova_api, nova_compute, reconcile};
use castoff_ports::rpc::{self, Method};
use castoff_ports::{Auth, Call, CallCx, Failure, Iqn, Portal, Process, Refusal, Reply, RequestId};
use tokio::sync::{Notify, oneshot};
use turmoil::net::{TcpListener, TcpStream};

use super::frames::{self, Payload};
use super::http;
use super::shared::Shared;

/// The conductor: nova's database for nova-compute.
pub(super) const CONDUCTOR: (&str, u16) = ("nova-conductor", 81);
/// The message broker.
pub(super) const BROKER: (&str, u16) = ("broker", 5672);
/// The iSCSI portal.
const STORAGE: (&str, u16) = ("storage", 3260);

/// rpc_response_timeout.
const RPC_RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long nova-compute waits before it tries the broker again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Registers all hosts.
pub(super) fn register(sim: &mut turmoil::Sim<'static>, shared: &Rc<Shared>) {
    macro_rules! host {
        ($name:literal, $main:path) => {{
            let shared = shared.clone();
            sim.host($name, move || $main(shared.clone()));
        }};
    }
    host!("client", client);
    host!("keystone", keystone);
    host!("nova-api", api);
    host!("nova-conductor", conductor);
    host!("broker", broker);
    host!("nova-compute", compute);
    host!("compute-kernel", kernel);
    host!("cinder", cinder);
    host!("storage", storage);
}

async fn client(shared: Rc<Shared>) -> turmoil::Result {
    loop {
        let part = shared.next_client().await;
        let work = shared.work();
        tokio::task::spawn_local(async move {
            part.await;
            drop(work);
        });
    }
}

async fn keystone(shared: Rc<Shared>) -> turmoil::Result {
    http::serve(move |request| {
        let shared = shared.clone();
        async move {
            let now = shared.now();
            let response = wire::keystone(&mut shared.world.borrow_mut(), now, &request);
            shared.settle();
            response
        }
    })
    .await
}

async fn cinder(shared: Rc<Shared>) -> turmoil::Result {
    http::serve(move |request| {
        let shared = shared.clone();
        async move {
            let now = shared.now();
            shared.answering(&request);
            let response = wire::cinder(&mut shared.world.borrow_mut(), now, &request);
            shared.settle();
            response
        }
    })
    .await
}

async fn api(shared: Rc<Shared>) -> turmoil::Result {
    http::serve(move |request| {
        let shared = shared.clone();
        async move {
            let (call, auth, id) = match nova_request(&request) {
                Ok(parsed) => parsed,
                Err(refusal) => return nova_answer(&request, Err(refusal)),
            };
            let caller = caller(Process::NovaApi, id.unwrap_or(RequestId(0)), auth);
            let Some(port) = shared.port(Process::NovaApi, &caller) else {
                return nova_answer(&request, Err(Refusal::http(503, "shutting down")));
            };
            let work = shared.work();
            let process = shared.process(Process::NovaApi);
            let result = nova_api(&process, &port, call).await;
            drop(work);
            nova_answer(&request, result)
        }
    })
    .await
}

fn caller(process: Process, request: RequestId, auth: Auth) -> CallCx {
    CallCx { process, incarnation: 0, request, auth, deadline: None }
}

async fn conductor(shared: Rc<Shared>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", CONDUCTOR.1)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            if let Ok(Payload::Ask(cx, call)) = frames::receive(&shared, &mut stream).await {
                let result = shared.transition(&cx, call).await;
                // Whoever asked may be gone: the row is written all the same.
                let _ = frames::send(&shared, &mut stream, Payload::Answer(result)).await;
            }
        });
    }
}

/// RPC calls under way through the broker.
#[derive(Default)]
pub(super) struct RpcState {
    next: RefCell<u64>,
    outgoing: RefCell<VecDeque<(u64, CallCx, Method)>>,
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<Result<Reply, Failure>>>>,
}

async fn broker(shared: Rc<Shared>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", BROKER.1)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            match frames::receive(&shared, &mut stream).await {
                Ok(Payload::Ask(cx, Call::Rpc(rpc::Call::CallMethod(call)))) => {
                    let answer = rpc_call(&shared, cx, call).await;
                    let _ = frames::send(&shared, &mut stream, Payload::Answer(answer)).await;
                }
                Ok(Payload::Ask(cx, call)) => {
                    let answer = shared.transition(&cx, call).await;
                    shared.queued.notify_one();
                    let _ = frames::send(&shared, &mut stream, Payload::Answer(answer)).await;
                }
                Ok(Payload::Consume) => feed(&shared, stream).await,
                Ok(_) | Err(_) => {}
            }
        });
    }
}

async fn rpc_call(
    shared: &Rc<Shared>,
    cx: CallCx,
    call: rpc::CallMethod,
) -> Result<Reply, Failure> {
    let (tell, hear) = oneshot::channel();
    let id = {
        let mut next = shared.rpc.next.borrow_mut();
        *next += 1;
        *next
    };
    shared.rpc.waiting.borrow_mut().insert(id, tell);
    shared.rpc.outgoing.borrow_mut().push_back((id, cx, call.method));
    shared.queued.notify_one();
    match tokio::time::timeout(RPC_RESPONSE_TIMEOUT, hear).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => {
            shared.rpc.waiting.borrow_mut().remove(&id);
            Err(Refusal::MessagingTimeout { server: call.server.to_string() }.into())
        }
    }
}

/// Feeds the consumer on this connection: acknowledged as soon as it is sent (at most once).
async fn feed(shared: &Rc<Shared>, stream: TcpStream) {
    shared.world.borrow_mut().broker.consumer_up();
    let (mut from, mut to) = stream.into_split();
    let replies = {
        let shared = shared.clone();
        async move {
            while let Ok(payload) = frames::receive(&shared, &mut from).await {
                if let Payload::Returned(id, result) = payload
                    && let Some(tell) = shared.rpc.waiting.borrow_mut().remove(&id)
                {
                    let _ = tell.send(result);
                }
            }
        }
    };
    tokio::task::spawn_local(replies);
    loop {
        let request = shared.rpc.outgoing.borrow_mut().pop_front();
        let payload = match request {
            Some((id, cx, method)) => Some(Payload::Request(id, cx, method)),
            None => {
                let now = shared.now();
                let message = shared.world.borrow_mut().deliver(now);
                shared.settle();
                message.map(Payload::Message)
            }
        };
        match payload {
            Some(payload) => {
                let work = shared.work();
                let sent = frames::send(shared, &mut to, payload).await;
                drop(work);
                if sent.is_err() {
                    return;
                }
            }
            None => shared.queued.notified().await,
        }
        if shared.is_dead(Process::NovaCompute) {
            return;
        }
    }
}

async fn compute(shared: Rc<Shared>) -> turmoil::Result {
    let starting = caller(Process::NovaCompute, RequestId(0), Auth::default());
    if shared.is_restarted(Process::NovaCompute)
        && let Some(port) = shared.port(Process::NovaCompute, &starting)
    {
        let work = shared.work();
        init_host(&shared.process(Process::NovaCompute), &port).await;
        drop(work);
    }
    tokio::task::spawn_local(passes(shared.clone(), starting));
    loop {
        if let Ok(stream) = TcpStream::connect(BROKER).await {
            consume(&shared, stream).await;
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// The periodic task, where the policy has one; at once in a process that was started again.
async fn passes(shared: Rc<Shared>, starting: CallCx) {
    let Some(every) = shared.period() else { return };
    let mut after = if shared.is_restarted(Process::NovaCompute) { Duration::ZERO } else { every };
    loop {
        tokio::time::sleep(after).await;
        let Some(port) = shared.port(Process::NovaCompute, &starting) else { return };
        let work = shared.work();
        reconcile(&shared.process(Process::NovaCompute), &port).await;
        shared.passed();
        drop(work);
        after = every;
    }
}

async fn consume(shared: &Rc<Shared>, mut stream: TcpStream) {
    if frames::send(shared, &mut stream, Payload::Consume).await.is_err() {
        return;
    }
    let (mut from, to) = stream.into_split();
    let to = Rc::new(tokio::sync::Mutex::new(to));
    while let Ok(payload) = frames::receive(shared, &mut from).await {
        let shared = shared.clone();
        let work = shared.work();
        match payload {
            Payload::Message(message) => {
                tokio::task::spawn_local(async move {
                    cast(&shared, message).await;
                    drop(work);
                });
            }
            Payload::Request(id, cx, method) => {
                let to = to.clone();
                tokio::task::spawn_local(async move {
                    let result = call(&shared, &cx, method).await;
                    let mut to = to.lock().await;
                    let _ = frames::send(&shared, &mut *to, Payload::Returned(id, result)).await;
                    drop(work);
                });
            }
            _ => {}
        }
    }
}

async fn cast(shared: &Rc<Shared>, message: Message) {
    let request = message.request;
    let from = caller(Process::NovaCompute, request, message.auth);
    let Some(port) = shared.port(Process::NovaCompute, &from) else { return };
    let process = shared.process(Process::NovaCompute);
    // A cast has no one to answer to: the manager has recorded what went wrong.
    let _ = nova_compute(&process, &port, message.method).await;
    shared.world.borrow_mut().broker.finished(request);
}

async fn call(shared: &Rc<Shared>, cx: &CallCx, method: Method) -> Result<Reply, Failure> {
    let Some(port) = shared.port(Process::NovaCompute, cx) else {
        return Err(Failure::NoReply { system: "nova-compute".to_owned() });
    };
    let process = shared.process(Process::NovaCompute);
    match nova_compute(&process, &port, method).await {
        Ok(returned) => Ok(Reply::Rpc(rpc::Reply::CallMethod(returned))),
        Err(error) => Err(error.to_remote().into()),
    }
}

enum LinkRequest {
    Login(Portal, Iqn, oneshot::Sender<bool>),
    Logout(Portal, Iqn),
}

/// What iscsiadm asks of the kernel.
#[derive(Default)]
pub(super) struct LinkRequests {
    queue: RefCell<VecDeque<LinkRequest>>,
    wakes: Rc<Notify>,
}

impl LinkRequests {
    /// Opens the link to a target; false when it cannot be reached.
    pub(super) async fn login(&self, portal: &Portal, iqn: &Iqn) -> bool {
        let (tell, hear) = oneshot::channel();
        let request = LinkRequest::Login(portal.clone(), iqn.clone(), tell);
        self.queue.borrow_mut().push_back(request);
        self.wakes.notify_one();
        hear.await.unwrap_or(false)
    }

    /// Closes the link.
    pub(super) fn logout(&self, portal: Portal, iqn: Iqn) {
        self.queue.borrow_mut().push_back(LinkRequest::Logout(portal, iqn));
        self.wakes.notify_one();
    }
}

/// The compute host's kernel: it keeps the links of its sessions, whatever nova-compute does.
async fn kernel(shared: Rc<Shared>) -> turmoil::Result {
    let mut links: BTreeMap<(Portal, Iqn), TcpStream> = BTreeMap::new();
    loop {
        let request = shared.links.queue.borrow_mut().pop_front();
        match request {
            Some(LinkRequest::Login(portal, iqn, tell)) => {
                let link = open_link(&shared, &portal, &iqn).await;
                let _ = tell.send(link.is_some());
                if let Some(link) = link {
                    links.insert((portal, iqn), link);
                }
            }
            Some(LinkRequest::Logout(portal, iqn)) => {
                links.remove(&(portal, iqn));
            }
            None => shared.links.wakes.notified().await,
        }
    }
}

async fn open_link(shared: &Rc<Shared>, portal: &Portal, iqn: &Iqn) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(STORAGE).await.ok()?;
    let login = Payload::Login(portal.clone(), iqn.clone());
    frames::send(shared, &mut stream, login).await.ok()?;
    match frames::receive(shared, &mut stream).await {
        Ok(Payload::Admitted(true)) => Some(stream),
        Ok(_) | Err(_) => None,
    }
}

async fn storage(shared: Rc<Shared>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", STORAGE.1)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            if let Ok(Payload::Login(portal, iqn)) = frames::receive(&shared, &mut stream).await {
                let admitted = {
                    let world = shared.world.borrow();
                    world.storage.reachable
                        && *world.storage.portal() == portal
                        && world.storage.has_target(&iqn)
                };
                let answer = Payload::Admitted(admitted);
                if frames::send(&shared, &mut stream, answer).await.is_ok() && admitted {
                    // The session lives as long as its connection.
                    let _ = frames::receive(&shared, &mut stream).await;
                }
            }
        });
    }
}
