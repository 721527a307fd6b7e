//! Commands: accepted exit codes, retries and limits (oslo processutils, os-brick rootwrap).

use std::time::Duration;

use castoff_ports::iscsi::CommandOutput;
use castoff_ports::{Failure, Operation};

use super::BrickError;
use crate::context::Context;

/// Exit codes that a command may end with where os-brick says nothing else.
pub(crate) const OK: &[i32] = &[0];

/// Any exit code will do (`check_exit_code=False`).
pub(crate) const ANY: &[i32] = &[];

/// oslo's pause between attempts is random, 0.2 to 2 s; this is its mean.
const DELAY_ON_RETRY: Duration = Duration::from_millis(1100);

/// How often a command is tried, and how long.
#[derive(Clone, Copy)]
pub(crate) struct Attempts {
    /// How often.
    pub(crate) attempts: u32,
    /// Base of the sleeps in between, `interval * 2^n`; oslo's pause when absent.
    pub(crate) interval: Option<Duration>,
    /// Limit of one try.
    pub(crate) timeout: Option<Duration>,
}

/// One command, tried once with os-brick's usual limit (600 s since 3c15f88).
pub(crate) async fn execute<O>(
    cx: &Context<'_>,
    command: impl Fn() -> O,
    accepted: &'static [i32],
) -> Result<CommandOutput, BrickError>
where
    O: Operation<Reply = CommandOutput>,
{
    execute_attempts(cx, command, accepted, usual(cx, 1)).await
}

/// os-brick's usual limit, tried so often, with oslo's pause in between.
pub(crate) fn usual(cx: &Context<'_>, attempts: u32) -> Attempts {
    let timeout = cx.policy().command_timeout_s.map(|s| Duration::from_secs(s.into()));
    Attempts { attempts, interval: None, timeout }
}

/// Retries and limit of a flush, of a disk's buffers or of a map.
pub(crate) fn flush_attempts(cx: &Context<'_>) -> Attempts {
    let flush = cx.policy().flush;
    Attempts {
        attempts: flush.attempts,
        interval: Some(Duration::from_secs(flush.interval_s.into())),
        timeout: flush.timeout_s.map(|s| Duration::from_secs(s.into())),
    }
}

/// One command, tried as often as `how` says.
pub(crate) async fn execute_attempts<O>(
    cx: &Context<'_>,
    command: impl Fn() -> O,
    accepted: &'static [i32],
    how: Attempts,
) -> Result<CommandOutput, BrickError>
where
    O: Operation<Reply = CommandOutput>,
{
    let mut attempt = 1;
    loop {
        let error = match run(cx, command(), how.timeout).await {
            Ok(out) if accepted.is_empty() || accepted.contains(&out.exit) => return Ok(out),
            Ok(out) => BrickError::ProcessExecutionError {
                cmd: command().into_call().describe(),
                exit: out.exit,
                accepted,
                stderr: out.stderr,
            },
            // A command that was stopped at its limit is tried again like one that failed.
            Err(e @ Failure::NoReply { .. }) => e.into(),
            Err(e) => return Err(e.into()),
        };
        if attempt >= how.attempts {
            return Err(error);
        }
        let pause = how.interval.map_or(DELAY_ON_RETRY, |i| i * 2u32.saturating_pow(attempt));
        cx.port.sleep(pause).await?;
        attempt += 1;
    }
}

async fn run<O: Operation>(
    cx: &Context<'_>,
    command: O,
    timeout: Option<Duration>,
) -> Result<O::Reply, Failure> {
    match timeout {
        None => cx.call(command).await,
        Some(timeout) => {
            let mut port = cx.port.clone();
            port.cx.deadline = Some(cx.port.now() + timeout);
            port.call(command).await
        }
    }
}
