//! `castoff serve`: says where the cloud is, and serves it until it is told to stop.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use castoff::serve::{self, Config, Credentials, ServeError};
use castoff_ports::SimTime;
use tokio::signal::unix::{SignalKind, signal};

use super::{CloudFormat, Exit, Problem, ServeArgs, select};

/// 2026-01-01T00:00:00Z, the models' epoch, in seconds since 1970.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Serves until SIGINT or SIGTERM.
pub(super) fn serve(args: &ServeArgs) -> Result<Exit, Problem> {
    let policy = select::policy(&args.policy)?;
    let config = Config {
        scenario: select::scenario(&args.scenario)?,
        release: select::release(args.release.as_deref(), &policy)?,
        policy,
        listen: args.listen,
        port_base: args.port_base,
        speed: args.speed,
        start: now(),
    };
    if !args.listen.is_loopback() {
        // When stderr is closed there is nobody to warn.
        let _ = writeln!(
            anstream::stderr(),
            "warning: listening on {}: anybody who reaches it may use this cloud and its admin port",
            args.listen
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| {
        Problem::missing(format!("cannot start the runtime: {e}"), "free some file descriptors")
    })?;
    tokio::task::LocalSet::new().block_on(&runtime, run(args, &config))
}

async fn run(args: &ServeArgs, config: &Config) -> Result<Exit, Problem> {
    let failed =
        |e| Problem::missing(format!("cannot wait for signals: {e}"), "run it as a process");
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
    let credentials = serve::start(config).await?;
    announce(args, &credentials)?;
    let (a, b) = (std::pin::pin!(interrupted.recv()), std::pin::pin!(terminated.recv()));
    futures::future::select(a, b).await;
    Ok(Exit::Fine)
}

fn announce(args: &ServeArgs, credentials: &Credentials) -> Result<(), Problem> {
    if let Some(path) = &args.clouds {
        // Whoever waits for the file finds it whole.
        let part = path.with_extension("part");
        std::fs::write(&part, credentials.clouds_yaml())
            .and_then(|()| std::fs::rename(&part, path))
            .map_err(|e| {
                Problem::usage(
                    format!("cannot write {}: {e}", path.display()),
                    "name a file in a folder that exists",
                )
            })?;
    }
    let text = match args.format {
        CloudFormat::Clouds => credentials.clouds_yaml(),
        CloudFormat::Env => credentials.env(),
        CloudFormat::Json => format!("{:#}\n", credentials.json()),
    };
    let mut stdout = anstream::stdout();
    // A reader who went away has seen enough; the cloud is served all the same.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    Ok(())
}

/// Tokens carry dates that clients compare with their clocks: the cloud's begins with ours.
fn now() -> SimTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(EPOCH);
    SimTime::ZERO + since.saturating_sub(EPOCH)
}

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Prepare(e) => e.into(),
            ServeError::Listen { .. } => Problem::usage(
                error.to_string(),
                "give another --port-base, or 0 for free ports, and an address of this machine",
            ),
        }
    }
}
