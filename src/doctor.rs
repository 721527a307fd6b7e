//! What a host or a cloud's configuration is told before anything is run on it.
//!
//! - [`conf`]: oslo.config's files, read as nova and cinder read them.
//! - [`advice`]: what in them makes a detach unsafe, stuck or slow, each with its reference.
//! - [`jobs`]: what castoff's own jobs need on this machine.

pub mod advice;
pub mod conf;
pub mod jobs;
