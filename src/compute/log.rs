//! What is said about each message, without a secret: calls have their secrets masked
//! (`Call::describe`), and of a message only names and ids are shown.

use std::rc::Rc;

use castoff_ports::{Failure, SimTime};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Since the start.
    pub at: SimTime,
    /// `req-<uuid>`, if it belongs to one.
    pub request: Option<String>,
    /// What.
    pub text: String,
}

/// Where lines go.
#[derive(Clone)]
pub struct Log(Rc<dyn Fn(Line)>);

impl Log {
    /// Lines go to this function.
    pub fn new(to: impl Fn(Line) + 'static) -> Log {
        Log(Rc::new(to))
    }

    /// Says something that belongs to no request.
    pub(super) fn say(&self, at: SimTime, text: impl Into<String>) {
        (self.0)(Line { at, request: None, text: text.into() });
    }

    /// Says something about a request.
    pub(super) fn about(&self, at: SimTime, request: String, text: impl Into<String>) {
        (self.0)(Line { at, request: Some(request), text: text.into() });
    }
}

/// A failure in one line.
pub(super) fn one_line(failure: &Failure) -> String {
    failure.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
