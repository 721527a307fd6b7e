//! Any text is a scenario, or an error that can be shown over that text.

use castoff_scenarios::check::POLICIES;
use castoff_scenarios::parse;
use miette::Diagnostic;

#[path = "../../tests/support/fuzz.rs"]
mod fuzz;

const SAMPLES: [&str; 4] = [
    include_str!("../files/healthy-multipath.toml"),
    include_str!("../files/guest-never-lets-go.toml"),
    include_str!("../files/cinder-times-out.toml"),
    "",
];

#[test]
fn any_text_is_a_scenario_or_an_error_that_points_into_it() {
    fuzz::fuzz!(|bytes: &mut fuzz::Bytes<'_>| {
        let text = bytes.edited_text(&SAMPLES);
        let Err(error) = parse("healthy.toml", &text, POLICIES) else { return };
        assert!(!error.to_string().is_empty());
        for label in error.labels().into_iter().flatten() {
            let span = label.offset()..label.offset() + label.len();
            assert!(text.get(span).is_some(), "{label:?} is outside of {text:?}");
        }
        // What a person sees; it cuts the text at the labels.
        assert!(!format!("{:?}", miette::Report::new(error)).is_empty());
    });
}
