//! castoff.
