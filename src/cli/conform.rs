//! `castoff conform`: the same pipeline on a real host, here or in the lab.

#[cfg(not(feature = "real"))]
use super::{ConformArgs, Exit, Problem};

/// Without the feature there is nothing to bind to.
#[cfg(not(feature = "real"))]
pub(super) fn conform(_args: &ConformArgs) -> Result<Exit, Problem> {
    Err(Problem::missing(
        "this castoff was built without real bindings",
        "install libvirt's headers (Debian: apt-get install libvirt-dev pkg-config), then \
         `cargo run --release --features real -- conform --lab`",
    ))
}

#[cfg(feature = "real")]
pub(super) use real::conform;

#[cfg(feature = "real")]
#[path = "conform_real.rs"]
mod real;
