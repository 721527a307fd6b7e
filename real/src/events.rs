//! libvirt's event loop and its device-removed events: what crate `virt` has no wrapper for.
//!
//! The only unsafe code of castoff, and why it is sound:
//! - A callback is registered as `virConnectDomainEventGenericCallback` although it takes one
//!   argument more. libvirt documents this cast (`VIR_DOMAIN_EVENT_CALLBACK`) and casts back by
//!   the event id before it calls; each id below is paired with a callback of its own signature
//!   (`virConnectDomainEventDeviceRemovedCallback` and `…DeviceRemovalFailedCallback`).
//! - `opaque` is a leaked `Box<Arc<Waiters>>` per registration. libvirt hands it back as it got
//!   it, only to the callback and, once no callback can run any more, to `free_waiters`. A
//!   registration that fails never calls either, so its box is taken back at once.
//! - Callbacks run on the event thread: `Waiters` is `Sync`. The domain and the alias are valid
//!   for the length of the callback and are copied there. A callback does not unwind into C: a
//!   panic in an `extern "C"` function aborts.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use castoff_ports::libvirt::DeviceEvent;
use virt::connect::Connect;
use virt::error::{Error, clear_error_callback};
use virt::{event, sys};

use crate::RealError;
use crate::waiters::Waiters;

/// After a failed turn of the event loop, so that a lasting error does not eat a processor.
const LOOP_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Starts libvirt's default event loop on a thread of its own, once a process. It must come before
/// the first connection is opened (virEventRegisterDefaultImpl).
pub(crate) fn start_loop() -> Result<(), RealError> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        // libvirt prints every error to stderr by default; castoff reports them itself.
        clear_error_callback();
        event::event_register_default_impl().map_err(|e| e.message().to_owned())?;
        let turns = || {
            loop {
                if event::event_run_default_impl().is_err() {
                    thread::sleep(LOOP_ERROR_PAUSE);
                }
            }
        };
        let thread = thread::Builder::new().name("libvirt-events".to_owned()).spawn(turns);
        thread.map(drop).map_err(|e| e.to_string())
    });
    started.clone().map_err(|message| RealError::EventLoop { message })
}

/// A connection's device events on their way to the waiters, until it is dropped.
pub(crate) struct Subscription {
    connect: Connect,
    callbacks: [c_int; 2],
}

impl Subscription {
    /// Sends DEVICE_REMOVED and DEVICE_REMOVAL_FAILED of every domain to the waiters. Listening
    /// touches no domain; one registration serves domains that are looked up later.
    pub(crate) fn new(connect: &Connect, waiters: &Arc<Waiters>) -> Result<Subscription, Error> {
        let removed = register(
            connect,
            sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED as c_int,
            on_removed,
            waiters,
        )?;
        let failed = register(
            connect,
            sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED as c_int,
            on_removal_failed,
            waiters,
        );
        let failed = failed.inspect_err(|_| deregister(connect, removed))?;
        Ok(Subscription { connect: connect.clone(), callbacks: [removed, failed] })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for id in self.callbacks {
            deregister(&self.connect, id);
        }
    }
}

/// What both device events call: connection, domain, device alias, opaque.
type DeviceCallback =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *mut c_void);

fn register(
    connect: &Connect,
    event_id: c_int,
    callback: DeviceCallback,
    waiters: &Arc<Waiters>,
) -> Result<c_int, Error> {
    let opaque: *mut Arc<Waiters> = Box::into_raw(Box::new(waiters.clone()));
    // SAFETY: function pointers of one ABI have one representation; libvirt casts this one back
    // to `DeviceCallback`'s type before calling it (module documentation, first point). The
    // connection is alive for the call, no domain (null) means all, and opaque is ours to give.
    let id = unsafe {
        let generic = transmute::<
            DeviceCallback,
            unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void),
        >(callback);
        sys::virConnectDomainEventRegisterAny(
            connect.as_ptr(),
            ptr::null_mut(),
            event_id,
            Some(generic),
            opaque.cast(),
            Some(free_waiters),
        )
    };
    if id < 0 {
        let error = Error::last_error();
        // SAFETY: a registration that failed has kept nothing, so the box is still ours alone.
        drop(unsafe { Box::from_raw(opaque) });
        return Err(error);
    }
    Ok(id)
}

fn deregister(connect: &Connect, id: c_int) {
    // SAFETY: the connection is alive, and `id` came from a registration on it that nobody else
    // ends. An error (libvirtd is gone) leaves the box to the connection's own end.
    unsafe { sys::virConnectDomainEventDeregisterAny(connect.as_ptr(), id) };
}

unsafe extern "C" fn on_removed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt's promise for the length of this callback is `deliver`'s condition.
    unsafe { deliver(domain, alias, opaque, DeviceEvent::Removed) }
}

unsafe extern "C" fn on_removal_failed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as in `on_removed`.
    unsafe { deliver(domain, alias, opaque, DeviceEvent::RemovalFailed) }
}

/// # Safety
/// `domain` is a domain, `alias` a C string, `opaque` what `register` leaked; all valid now.
unsafe fn deliver(
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
    event: DeviceEvent,
) {
    let mut uuid = [0 as c_char; sys::VIR_UUID_STRING_BUFLEN as usize];
    // SAFETY: the buffer has the length that virDomainGetUUIDString asks for, and it ends what it
    // writes with a zero; the rest is this function's own condition.
    let (uuid, alias, waiters) = unsafe {
        if sys::virDomainGetUUIDString(domain, uuid.as_mut_ptr()) < 0 {
            return;
        }
        let waiters = &*opaque.cast_const().cast::<Arc<Waiters>>();
        (CStr::from_ptr(uuid.as_ptr()), CStr::from_ptr(alias), waiters)
    };
    waiters.deliver(&uuid.to_string_lossy(), &alias.to_string_lossy(), event);
}

unsafe extern "C" fn free_waiters(opaque: *mut c_void) {
    // SAFETY: libvirt calls this once for what `register` leaked, when no callback can run.
    drop(unsafe { Box::from_raw(opaque.cast::<Arc<Waiters>>()) });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The domain that libvirt's own test driver begins with.
    const TEST_DOMAIN: &str = "6695eb01-f6a4-8304-79aa-97f2502e193f";

    #[test]
    fn a_callback_names_the_domain_and_the_device_to_the_waiters() {
        start_loop().unwrap();
        let connect = Connect::open(Some("test:///default")).unwrap();
        let domain = connect.lookup_domain_by_uuid_string(TEST_DOMAIN).unwrap();
        let waiters = Arc::new(Waiters::default());
        let id = waiters.create(TEST_DOMAIN.into(), "ua-v1".into());
        let opaque = Box::into_raw(Box::new(waiters.clone()));
        // SAFETY: the domain and the string are alive here, and opaque is made as by `register`.
        unsafe {
            on_removal_failed(connect.as_ptr(), domain.as_ptr(), c"ua-v1".as_ptr(), opaque.cast());
            free_waiters(opaque.cast());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let got = runtime.block_on(waiters.wait(id, Duration::ZERO));
        assert_eq!(got, Some(DeviceEvent::RemovalFailed));
        assert_eq!(Arc::strong_count(&waiters), 1, "the leaked box was freed");
    }

    #[test]
    fn a_subscription_that_ends_gives_the_waiters_back() {
        start_loop().unwrap();
        let connect = Connect::open(Some("test:///default")).unwrap();
        let waiters = Arc::new(Waiters::default());
        let subscription = Subscription::new(&connect, &waiters).unwrap();
        assert_eq!(Arc::strong_count(&waiters), 3, "one for each event id");
        drop(subscription);
        drop(connect);
        assert_eq!(Arc::strong_count(&waiters), 1);
    }
}
