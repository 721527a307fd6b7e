//! Scenario files: what they may say, how they are read and checked, and the built-in ones.
//!
//! A scenario is one TOML file: the world before, what goes wrong, who does what, and what must
//! come of it under each policy. The crate knows operations and faults (they are the ports') but
//! neither policies nor models: whoever runs a scenario passes the names of its policies in.
//!
//! - [`scenario`]: the types of a file, which are also its grammar.
//! - [`mod@load`]: text to [`Scenario`], or a [`LoadError`] with file, line and what was expected.
//! - [`mod@check`]: what types cannot say; pure, also for scenarios built in Rust.
//! - [`builtin`]: the standard scenarios, embedded; a name or a path to a scenario.
//! - [`schema`]: the JSON Schema of a file, for editors; published as `scenario.schema.json`.
//! - `nearest`: did you mean.

mod actor;
mod before;
pub mod builtin;
pub mod check;
pub mod load;
mod nearest;
pub mod scenario;
pub mod schema;

pub use builtin::{all, named, names, resolve};
pub use check::{POLICIES, Problem, check};
pub use load::{LoadError, load, parse};
pub use scenario::{
    Action, Actor, End, Expectation, GuestSpec, HostEvent, HostSpec, Leftover, LetsGo, Linger,
    OpenIscsi, Scenario, Standing, StorageSpec, TokenSpec, VolumeSpec,
};
