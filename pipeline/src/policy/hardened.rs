//! `hardened`: castoff's own decisions, built on 2026.1 so that a difference is one line here.

use super::Policy;

/// The policy.
pub fn policy() -> Policy {
    Policy { name: "hardened".to_owned(), ..super::v2026_1::policy() }
}
