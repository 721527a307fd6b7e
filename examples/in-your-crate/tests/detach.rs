//! Fault scenarios of volume detach, in your own `cargo test`.

#[test]
fn detach_survives_a_guest_that_never_lets_go() {
    castoff::scenario("guest-never-lets-go").policy("hardened").seeds(0..100).check();
}
