//! Writes the table of properties to standard output.
//!
//! `cargo run -p castoff-sim --example properties > docs/properties.md`

#[expect(clippy::print_stdout, reason = "printing is all it does")]
fn main() {
    print!("{}", castoff_sim::properties::markdown());
}
