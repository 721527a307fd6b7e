//! nova-api and nova-compute: the pipeline on `direct`, over the cloud's one world.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use castoff_model::World;
use castoff_model::wire::nova::{nova_answer, nova_request};
use castoff_ports::plan::Plan;
use castoff_ports::trace::Trace;
use castoff_ports::{Call, CallCx, Failure, Process, Reply, RequestId, SimTime, runtime};
use castoff_sim::direct::{Direct, Quiet};
use castoff_sim::observe::Observer;
use castoff_sim::prepare::{Prepared, client_cx};
use castoff_sim::properties::Checker;
use http::{Request, Response};

/// Longer than any request with all that it starts.
const LIMIT: Duration = Duration::from_secs(3600);

/// Nova's processes, and the time.
pub(crate) struct Nova {
    direct: Direct,
    requests: u32,
    compute_killed: bool,
}

impl Nova {
    pub(crate) fn new(prepared: &Rc<Prepared>, world: World, start: SimTime) -> Nova {
        let observer = Observer::new(Trace::off(), Checker::default());
        let direct = Direct::new(prepared, world, observer, &Plan::default(), 1, start);
        Nova { direct, requests: 0, compute_killed: false }
    }

    pub(crate) fn now(&self) -> SimTime {
        self.direct.core().now()
    }

    /// Looks at the world, or changes it.
    pub(crate) fn world<T>(&self, look: impl FnOnce(&mut World, SimTime) -> T) -> T {
        look(&mut self.direct.core().world.borrow_mut(), self.now())
    }

    /// Lets time pass, and whatever is under way go on.
    pub(crate) fn pass(&self, time: Duration) {
        let binding = self.direct.binding();
        let sleep = Call::Runtime(runtime::Call::Sleep(runtime::Sleep { duration: time }));
        self.direct.core().spawn(
            Process::Client,
            Box::pin(async move {
                let _ = binding.call(&client_cx(RequestId(0)), sleep).await;
            }),
        );
        self.direct.run_until_quiet(self.now() + time);
    }

    /// Waits until everything that is under way has ended.
    pub(crate) fn settle(&self) {
        // Of a killed nova-compute nothing is under way, only the time until it counts as down.
        if !self.compute_killed {
            assert_eq!(self.direct.run_until_quiet(self.now() + LIMIT), Quiet::Quiet);
        }
    }

    /// The recorder kills nova-compute.
    pub(crate) fn kill_compute(&mut self) {
        self.settle();
        self.compute_killed = true;
        let compute = CallCx { process: Process::NovaCompute, ..client_cx(RequestId(0)) };
        self.direct.binding().crash(&compute, None);
        self.pass(Duration::from_millis(1));
    }

    /// What was killed runs again.
    pub(crate) fn restart(&mut self) {
        if std::mem::take(&mut self.compute_killed) {
            self.direct.heal();
            self.settle();
        }
    }

    /// nova-api's answer; what it leaves to do is not done yet.
    pub(crate) fn ask(&mut self, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
        self.requests += 1;
        let id = RequestId(self.requests);
        let (call, auth, _) = match nova_request(request) {
            Ok(read) => read,
            Err(refusal) => return nova_answer(request, Err(refusal)),
        };
        let answer: Rc<RefCell<Option<Result<Reply, Failure>>>> = Rc::default();
        let (told, binding) = (answer.clone(), self.direct.binding());
        self.direct.core().spawn(
            Process::Client,
            Box::pin(async move {
                let cx = CallCx { auth, ..client_cx(id) };
                let answer = binding.call(&cx, Call::Nova(call)).await;
                *told.borrow_mut() = Some(answer);
            }),
        );
        let limit = self.now() + LIMIT;
        while answer.borrow().is_none() {
            assert!(self.now() < limit, "nova-api gave no answer");
            self.pass(Duration::from_millis(1));
        }
        let result = match answer.take() {
            Some(Ok(Reply::Nova(reply))) => Ok(reply),
            Some(Err(Failure::Refused(refusal))) => Err(refusal),
            other => panic!("nova-api gave no answer: {other:?}"),
        };
        nova_answer(request, result)
    }
}
