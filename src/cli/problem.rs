//! What keeps a command from running: one clear error that says what to do, and its exit code.

use std::io::Write as _;
use std::process::ExitCode;

use miette::Diagnostic;
use thiserror::Error;

/// Why a command could not run.
#[derive(Debug, Error, Diagnostic)]
pub(super) enum Problem {
    /// The arguments name something that does not exist or does not fit.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A scenario that is unknown or wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Scenario(#[from] castoff_scenarios::LoadError),
    /// Something is not on this machine.
    #[error("{what}")]
    Missing {
        /// What is missing.
        what: String,
        /// How to get it.
        #[help]
        help: String,
    },
}

impl Problem {
    /// A usage problem.
    pub(super) fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Problem::Usage { what: what.into(), help: help.into() }
    }
    /// A missing thing.
    pub(super) fn missing(what: impl Into<String>, help: impl Into<String>) -> Self {
        Problem::Missing { what: what.into(), help: help.into() }
    }

    /// Prints itself on stderr and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        let code = match &self {
            Problem::Usage { .. } | Problem::Scenario(_) => 2,
            Problem::Missing { .. } => 5,
        };
        let report = miette::Report::new(self);
        // When stderr is closed there is nobody to tell.
        let _ = writeln!(anstream::stderr(), "{report:?}");
        ExitCode::from(code)
    }
}

impl From<castoff_sim::prepare::PrepareError> for Problem {
    fn from(error: castoff_sim::prepare::PrepareError) -> Self {
        Problem::usage(error.to_string(), error.help())
    }
}
