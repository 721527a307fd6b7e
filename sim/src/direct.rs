//! The `direct` binding: models called in process on virtual time, by an executor of its own.
//!
//! The executor is small because the *choice* of the next ready task is the search's, not a
//! runtime's. Time jumps from event to event. A call has three moments: it is made, it takes
//! effect, its reply arrives; dropping the caller between them undoes nothing.
//!
//! - [`core`]: tasks, the heap of events, slots of calls under way.
//! - [`binding`]: [`Binding`](castoff_ports::Binding) over it; who answers nova-api and RPC calls.

mod binding;
mod core;

pub use binding::Direct;
pub use core::{Choice, Core, PCT_POINTS, Quiet, RACE_WINDOW};
