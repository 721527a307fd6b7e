//! Runs one command to its end, as os-brick's processutils would, and answers its exit and output.
//!
//! The locale is C, stdin is empty or holds what is written to it, and PATH also has the
//! directories of system administration, where iscsiadm and blockdev live. Arguments may hold a
//! CHAP password: `issued`, which notes them, leaves it out.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use castoff_ports::iscsi::CommandOutput;
use futures::future::join4;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::issued;

/// More than any of the commands writes; what comes after is cut off.
const MAX_OUTPUT: u64 = 4 << 20;

/// The exit code when the command could not be started: os-brick turns the OSError into a
/// ProcessExecutionError that has no exit code.
pub(crate) const NOT_STARTED: i32 = -1;

/// A command that has no exit code: what it was to do may or may not have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoExit {
    /// It was told to end at the time limit.
    TimedOut,
    /// A signal that was not ours ended it.
    Signal,
}

/// Runs a command. Dropping the future does not end the command, only the time limit does: the
/// effect of a call outlives its caller (an orphaned logout ends after nova-compute has died). So
/// the command gets a task of its own; its pipes stay open and no write of it meets a SIGPIPE.
pub(crate) async fn run<A: AsRef<OsStr>>(
    program: &'static str,
    args: impl IntoIterator<Item = A>,
    input: Option<String>,
    limit: Duration,
) -> Result<CommandOutput, NoExit> {
    let args: Vec<OsString> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
    issued::command(program, &args);
    let mut command = Command::new(program);
    command
        .args(args)
        .env("LC_ALL", "C")
        .env("PATH", search_path())
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => match tokio::spawn(to_end(child, input, limit)).await {
            Ok(result) => result,
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down, and the command's fate is nobody's to know.
                Err(_) => Err(NoExit::Signal),
            },
        },
        Err(e) => Ok(not_started(program, &e)),
    }
}

async fn to_end(
    mut child: Child,
    input: Option<String>,
    limit: Duration,
) -> Result<CommandOutput, NoExit> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A command that does not read to the end says so by its exit code.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let all = join4(feed, read(stdout), read(stderr), child.wait());
    match tokio::time::timeout(limit, all).await {
        Ok(((), stdout, stderr, Ok(status))) => match status.code() {
            Some(exit) => Ok(CommandOutput { exit, stdout, stderr }),
            None => Err(NoExit::Signal),
        },
        Ok((.., Err(_))) => Err(NoExit::Signal),
        Err(_) => {
            // SIGTERM, as os-brick at its limit. Not waited for: a command stuck in the kernel (a
            // flush of a dead path) ends when the kernel lets it; tokio reaps it then. The id is
            // there, and nobody else's, as long as the child has not been reaped.
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _ = kill_process(pid, Signal::TERM);
            }
            Err(NoExit::TimedOut)
        }
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // A broken pipe ends the output; what came before it counts.
        let _ = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As Python words the OSError: `[Errno 2] No such file or directory: 'multipathd'`.
fn not_started(program: &str, e: &io::Error) -> CommandOutput {
    let number = e.raw_os_error().unwrap_or_default();
    CommandOutput::failed(NOT_STARTED, format!("[Errno {number}] {}: '{program}'", errno_text(e)))
}

/// errno's text, without the number that std appends.
pub(crate) fn errno_text(e: &io::Error) -> String {
    let text = e.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Directories that are searched beside PATH: cron and sudo may leave them out.
const ADMIN_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// The directories in which commands are looked for, in order.
pub(crate) fn search_directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|d| d.is_absolute()).collect();
    for extra in ADMIN_DIRECTORIES {
        if !directories.iter().any(|d| d.as_os_str() == extra) {
            directories.push(PathBuf::from(extra));
        }
    }
    directories
}

fn search_path() -> OsString {
    // Directories that came out of PATH have no separator in them.
    std::env::join_paths(search_directories())
        .unwrap_or_else(|_| ADMIN_DIRECTORIES.join(":").into())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const NO_ARGS: [&str; 0] = [];

    fn wait<T>(f: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
    }

    #[test]
    fn exit_code_and_both_outputs_come_back() {
        let script = "echo out; echo err >&2; exit 21";
        let got = wait(run("sh", ["-c", script], None, LIMIT)).unwrap();
        assert_eq!(
            got,
            CommandOutput { exit: 21, stdout: "out\n".to_owned(), stderr: "err\n".to_owned() }
        );
    }

    #[test]
    fn a_command_that_is_not_installed_answers_as_os_brick_would_see_it() {
        let got = wait(run("castoff-no-such-command", NO_ARGS, None, LIMIT)).unwrap();
        assert_eq!(got.exit, NOT_STARTED);
        assert_eq!(got.stderr, "[Errno 2] No such file or directory: 'castoff-no-such-command'");
    }

    #[test]
    fn a_command_is_ended_at_its_time_limit() {
        let begin = Instant::now();
        let got = wait(run("sleep", ["60"], None, Duration::from_millis(50)));
        assert_eq!(got, Err(NoExit::TimedOut));
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_command_that_a_signal_ends_has_no_exit() {
        assert_eq!(wait(run("sh", ["-c", "kill -9 $$"], None, LIMIT)), Err(NoExit::Signal));
    }

    #[test]
    fn input_reaches_the_command_without_a_newline_and_without_input_stdin_is_empty() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let args = [OsStr::new("-a"), file.path().as_os_str()];
        let got = wait(run("tee", args, Some("0 0 1".to_owned()), LIMIT)).unwrap();
        assert_eq!(got, CommandOutput::with_stdout("0 0 1"));
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "0 0 1");
        assert_eq!(wait(run("cat", NO_ARGS, None, LIMIT)), Ok(CommandOutput::ok()));
    }

    #[test]
    fn a_command_outlives_the_caller_that_stopped_waiting_whatever_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("done");
        let script = format!("sleep 0.2; echo a && echo b && : > {}", mark.display());
        wait(async {
            let call = run("sh", ["-c", script.as_str()], None, LIMIT);
            assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
            let begin = Instant::now();
            while !mark.exists() && begin.elapsed() < LIMIT {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(mark.exists());
    }

    #[test]
    fn the_locale_is_c() {
        let got = wait(run("sh", ["-c", "echo $LC_ALL"], None, LIMIT)).unwrap();
        assert_eq!(got.stdout, "C\n");
    }
}
