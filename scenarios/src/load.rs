//! Reading a scenario file: text to [`Scenario`], or an error that says file, line and what was
//! expected.
//!
//! Two passes. The first is serde over TOML: syntax, unknown keys, wrong types; it stops at the
//! first error. The second, [`check()`], finds everything else at once. Positions for the second
//! come from parsing the text again into a tree with spans, only when there is something to say:
//! spans in the types would make every user of a scenario carry them.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, LabeledSpan, NamedSource};
use toml::de::{DeTable, DeValue};

use crate::check::{Place, Problem, Step, check, check_file_name};
use crate::scenario::Scenario;

/// Why a scenario could not be had. As a miette diagnostic it shows the lines it is about.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read scenario file {}: {source}", path.display())]
    #[diagnostic(help("expected a TOML file in UTF-8"))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file was read and has mistakes.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Mistakes(Box<Mistakes>),
    /// No built-in scenario has this name, and it is no path.
    #[error("cannot find scenario {name:?}")]
    Unknown {
        /// The name.
        name: String,
        /// Which names there are.
        #[help]
        help: String,
    },
}

/// The mistakes of one scenario file, each with its place.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("cannot read scenario file {file}:{line}: {first}{}", more(labels.len()))]
pub struct Mistakes {
    /// The file, as it was named.
    pub file: String,
    /// The line of the first mistake, from 1.
    pub line: usize,
    /// The first mistake.
    pub first: String,
    #[source_code]
    source_code: NamedSource<String>,
    #[label(collection)]
    labels: Vec<LabeledSpan>,
    #[help]
    help: Option<String>,
}

fn more(mistakes: usize) -> String {
    match mistakes {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    }
}

/// Reads and checks the scenario file at `path`; `expect` may name these policies.
///
/// # Errors
/// When the file cannot be read, is no scenario, or has any of [`check()`]'s problems.
pub fn load(path: &Path, policies: &[&str]) -> Result<Scenario, LoadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    parse(&path.to_string_lossy(), &text, policies)
}

/// Checks the scenario in `text`, which is the content of `file`.
///
/// # Errors
/// As [`load`], without the reading.
pub fn parse(file: &str, text: &str, policies: &[&str]) -> Result<Scenario, LoadError> {
    let scenario: Scenario =
        toml::from_str(text).map_err(|error| LoadError::Mistakes(not_toml(file, text, &error)))?;
    let mut problems = check(&scenario, policies);
    let stem = Path::new(file).file_stem().map(|s| s.to_string_lossy());
    if let Some(stem) = stem {
        problems.extend(check_file_name(&scenario, &stem));
    }
    if problems.is_empty() {
        Ok(scenario)
    } else {
        Err(LoadError::Mistakes(located(file, text, problems)))
    }
}

/// The mistake that TOML's or serde's parser found.
fn not_toml(file: &str, text: &str, error: &toml::de::Error) -> Box<Mistakes> {
    let message = in_words(&error.message().trim().replace('\n', "; "));
    let span = first_line(text, error.span().unwrap_or(0..0));
    let help = missing(&message);
    mistakes(file, text, vec![(span, message)], help)
}

/// serde's message without Rust's names of integers.
fn in_words(message: &str) -> String {
    match message.rsplit_once("expected ") {
        Some((found, "u64" | "u32" | "u16")) => format!("{found}expected a whole number"),
        Some((found, "i32")) => format!("{found}expected an integer"),
        _ => message.to_owned(),
    }
}

/// The part of a message that says what was expected: a lone label under a title with the whole
/// message repeats no more than that. The whole where there is no such part, or a long list.
fn expected_part(message: &str) -> &str {
    const LONG: usize = 60;
    let at = ["; ", ", expected ", ": expected "].iter().filter_map(|s| message.find(s)).min();
    match at {
        None => message,
        Some(at) if message.len() - at > LONG => &message[..at],
        Some(at) => message[at..].trim_start_matches([';', ',', ':', ' ']),
    }
}

/// How to write what a file lacks: serde says which key, not what goes there.
fn missing(message: &str) -> Option<String> {
    let key = message.strip_prefix("missing field `")?.strip_suffix('`')?;
    let form = match key {
        "name" => "name = \"v1\" (kebab-case)",
        "title" => "title = \"one line for tables\"",
        "volume" => {
            "[[volume]] with name = \"v1\" (in a [[leftover]] or [[actor]]: volume = \"v1\")"
        }
        "actor" => "[[actor]] with action = \"detach\" and volume = \"v1\": somebody must act",
        "action" => "action = \"detach\" or \"attach\"",
        "expect" => "[expect.pike] with end = \"detached\" and after_retry = \"detached\"",
        "end" | "after_retry" => "detached, rolled-back, stuck-detaching, orphaned or other",
        "at" => "at = { process = \"nova-compute\", operation = \"host::FlushBufs\", nth = 1 }",
        "strike" => "strike = { kind = \"crash-before\", restart_after_ms = 36000 }",
        "process" => "process = \"client\", \"nova-api\" or \"nova-compute\"",
        "operation" => "operation = \"cinder::AttachmentDelete\"",
        _ => return None,
    };
    Some(format!("expected {form}"))
}

/// The problems with the places of the text that they are about.
fn located(file: &str, text: &str, problems: Vec<Problem>) -> Box<Mistakes> {
    // It parsed a moment ago; should it not now, the problems are shown at the top of the file.
    let root = DeTable::parse(text).ok();
    let mut help: Vec<String> = Vec::new();
    let mut labels = Vec::with_capacity(problems.len());
    for problem in problems {
        let span = root.as_ref().map_or(0..0, |root| find(root.get_ref(), &problem.place));
        labels.push((first_line(text, span), problem.message));
        if let Some(text) = problem.help
            && !help.contains(&text)
        {
            help.push(text);
        }
    }
    labels.sort_by_key(|(span, _)| span.start);
    mistakes(file, text, labels, (!help.is_empty()).then(|| help.join("\n")))
}

fn mistakes(
    file: &str,
    text: &str,
    found: Vec<(Range<usize>, String)>,
    help: Option<String>,
) -> Box<Mistakes> {
    let (start, first) = found.first().map_or((0, ""), |(span, m)| (span.start, m.as_str()));
    let first = first.to_owned();
    let labels = match found.as_slice() {
        [(span, message)] => {
            let label = expected_part(message).to_owned();
            vec![LabeledSpan::new_with_span(Some(label), span.clone())]
        }
        several => several
            .iter()
            .map(|(span, message)| LabeledSpan::new_with_span(Some(message.clone()), span.clone()))
            .collect(),
    };
    Box::new(Mistakes {
        file: file.to_owned(),
        line: 1 + text.bytes().take(start).filter(|b| *b == b'\n').count(),
        first,
        source_code: NamedSource::new(file, text.to_owned()).with_language("TOML"),
        labels,
        help,
    })
}

/// The span cut to its first line: a label over a whole table hides what it is about.
fn first_line(text: &str, span: Range<usize>) -> Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    let line = text.get(start..end).and_then(|s| s.split('\n').next()).unwrap_or_default();
    start..start + line.trim_end().len()
}

/// The span of the value at `place`; of the nearest table around it when it is not written.
fn find(root: &DeTable<'_>, place: &Place) -> Range<usize> {
    let mut table = Some(root);
    let mut value: Option<&DeValue<'_>> = None;
    let mut span = 0..0;
    for step in &place.0 {
        let next = match step {
            Step::Key(key) => table.and_then(|t| t.get(key.as_str())),
            Step::Index(index) => value.and_then(|v| v.get(*index)),
        };
        let Some(next) = next else { break };
        span = next.span();
        value = Some(next.get_ref());
        table = next.get_ref().as_table();
    }
    span
}
