//! Writes the JSON Schema of scenario files to standard output.
//!
//! `cargo run -p castoff-scenarios --example schema > scenarios/scenario.schema.json`

#[expect(clippy::print_stdout, reason = "printing is all it does")]
fn main() {
    print!("{}", castoff_scenarios::schema::json_schema());
}
