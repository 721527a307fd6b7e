//! What a conformance run makes on a host, does to it, and takes away again.
//!
//! Everything carries a name of the run's own: target, volumes (their serials begin with
//! [`VOLUME_PREFIX`] and the run's id), guests, files. It is written into the [`ledger`] before it
//! is made, so that the next start finds it after a SIGKILL; [`sweep`] takes it away.
//!
//! - [`ledger`]: the journal of a run, and the lock that only one run at a time has.
//! - [`target`]: a tgtd of the run's own, with two portals on the loopback network.
//! - [`guest`]: what may happen to a guest that the user gave for it.
//! - [`sweep`]: takes away what one run has made.

use std::ffi::OsStr;
use std::time::Duration;

use castoff_ports::iscsi::CommandOutput;

use crate::command::{self, NoExit};

pub mod guest;
pub mod ledger;
pub mod sweep;
pub mod target;

pub use guest::Guest;
pub use ledger::{Ledger, Made};
pub use target::LocalTarget;

/// The first characters of every volume's id that a run makes; the run's id comes next.
pub const VOLUME_PREFIX: &str = "ca570ff0";

/// The first characters of every target's name that a run makes; the run's id comes next.
pub const IQN_PREFIX: &str = "iqn.2026-11.org.castoff:conform-";

/// The daemons that a run starts have its id in this variable of their environment: how they are
/// told from others of the same name.
pub const RUN_VARIABLE: &str = "CASTOFF_RUN";

/// How long one command of a fixture may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Why something could not be made, done or taken away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixtureError {
    /// A command failed.
    #[error("{what}: exit {exit}: {message}")]
    Command {
        /// What was to be done.
        what: String,
        /// The exit code; -1 when it could not be started, or had none.
        exit: i32,
        /// What it said.
        message: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// errno's text.
        message: String,
    },
    /// Another run is at work with the same state directory.
    #[error("another run is at work in {path}: wait for it, or name another --state-dir")]
    LiveRun {
        /// The lock file.
        path: String,
    },
    /// Something did not happen in its time.
    #[error("{what}: not after {seconds} s")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

/// Runs a line of shell with arguments (`$1` and so on); answers what it wrote.
pub async fn sh<A: AsRef<OsStr>>(script: &str, args: &[A]) -> Result<String, FixtureError> {
    let fixed = [OsStr::new("-c"), OsStr::new(script), OsStr::new("sh")];
    let args = fixed.into_iter().chain(args.iter().map(AsRef::as_ref));
    wrote(script, command::run("sh", args, None, LIMIT).await)
}

/// Runs one command, without a shell; answers what it wrote.
pub async fn bare(program: &'static str, args: &[&str]) -> Result<String, FixtureError> {
    let ended = command::run(program, args, None, LIMIT).await;
    wrote(&format!("{program} {}", args.join(" ")), ended)
}

fn wrote(what: &str, ended: Result<CommandOutput, NoExit>) -> Result<String, FixtureError> {
    let failed = |exit, message| FixtureError::Command { what: what.to_owned(), exit, message };
    match ended {
        Ok(out) if out.exit == 0 => Ok(out.stdout),
        Ok(out) => Err(failed(out.exit, format!("{}{}", out.stdout, out.stderr).trim().to_owned())),
        Err(no_exit) => Err(failed(-1, format!("{no_exit:?}"))),
    }
}

/// Looks every 50 ms until it is so.
pub async fn until<F: Future<Output = bool>>(
    what: &str,
    seconds: u64,
    mut look: impl FnMut() -> F,
) -> Result<(), FixtureError> {
    let end = std::time::Instant::now() + Duration::from_secs(seconds);
    while !look().await {
        if std::time::Instant::now() > end {
            return Err(FixtureError::Late { what: what.to_owned(), seconds });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn file_error(path: &std::path::Path, e: &std::io::Error) -> FixtureError {
    FixtureError::File { path: path.display().to_string(), message: command::errno_text(e) }
}
