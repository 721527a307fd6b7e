//! `castoff compute`: a nova-compute that detaches volumes, on a real control plane.

use std::path::PathBuf;

use clap::Args;

#[cfg(not(feature = "openstack"))]
use super::{Exit, Problem};

#[derive(Args)]
#[cfg_attr(not(feature = "openstack"), allow(dead_code))]
pub(super) struct ComputeArgs {
    /// transport_url of nova.conf, amqp:// or rabbit://user:password@host:port/vhost
    #[arg(long, value_name = "URL", env = "CASTOFF_TRANSPORT", hide_env_values = true)]
    transport: String,
    /// Nova's (cell) database: mysql://user:password@host:port/nova or sqlite:///path
    #[arg(long, value_name = "URL", env = "CASTOFF_DATABASE", hide_env_values = true)]
    database: String,
    /// Keystone
    #[arg(long, value_name = "URL", env = "CASTOFF_KEYSTONE")]
    keystone: String,
    /// Cinder
    #[arg(long, value_name = "URL", env = "CASTOFF_CINDER")]
    cinder: String,
    /// Name of this compute host: messages are taken from compute.NAME
    #[arg(long, value_name = "NAME")]
    host: String,
    /// Policy
    #[arg(long, value_name = "P", default_value = "2026.1")]
    policy: String,
    /// Nova's own account, for its service token
    #[arg(long, value_name = "NAME", default_value = "nova")]
    service_user: String,
    /// Its password [default: none, and no service token]
    #[arg(long, value_name = "PASSWORD", env = "CASTOFF_SERVICE_PASSWORD", hide_env_values = true)]
    service_password: Option<String>,
    /// Its project
    #[arg(long, value_name = "NAME", default_value = "service")]
    service_project: String,
    /// libvirt connection URI [default: no host, and what a detach needs of one is refused]
    #[arg(long, value_name = "URI", requires = "domain", requires = "target")]
    connect: Option<String>,
    /// Name or UUID of a guest that may be touched (may be given several times)
    #[arg(long, value_name = "NAME", requires = "connect")]
    domain: Vec<String>,
    /// An iSCSI target that may be touched, IP:PORT,IQN (may be given several times)
    #[arg(long, value_name = "PORTAL,IQN", requires = "connect")]
    target: Vec<String>,
    /// Directory of lock files; os-brick's lock_path, to exclude a nova-compute of the same host
    #[arg(long, value_name = "DIR", default_value = "/var/lock/castoff")]
    lock_path: PathBuf,
    /// Use every path of a volume (volume_use_multipath)
    #[arg(long)]
    multipath: bool,
    /// Give the services row no heartbeats
    #[arg(long)]
    no_report_state: bool,
    /// Seconds that messages under way may take once it is told to stop
    #[arg(long, value_name = "N", default_value_t = 60)]
    grace: u64,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
}

/// Without the feature there is nothing to talk to.
#[cfg(not(feature = "openstack"))]
pub(super) fn compute(_args: &ComputeArgs) -> Result<Exit, Problem> {
    Err(Problem::missing(
        "this castoff was built without clients of a real control plane",
        "`cargo run --release --features openstack,real -- compute …`; without `real` it needs no \
         libvirt, and touches no host",
    ))
}

#[cfg(feature = "openstack")]
pub(super) use run::compute;

#[cfg(feature = "openstack")]
mod run {
    use std::io::Write as _;
    use std::time::Duration;

    use castoff::compute::{ComputeError, HostSettings, Line, Log, Settings, serve};
    use castoff_model::Release;
    use castoff_openstack::Endpoint;
    use castoff_pipeline::conf::{Conf, ServiceUser};
    use castoff_ports::{HostName, ProjectId, Secret, UserId};
    use tokio::signal::unix::{SignalKind, signal};

    use super::ComputeArgs;
    use crate::cli::{Exit, Problem, select};

    /// Takes messages until SIGINT or SIGTERM.
    pub(in crate::cli) fn compute(args: &ComputeArgs) -> Result<Exit, Problem> {
        let settings = settings(args)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| {
            Problem::missing(format!("cannot start the runtime: {e}"), "free some file descriptors")
        })?;
        tokio::task::LocalSet::new().block_on(&runtime, run(settings))
    }

    async fn run(settings: Settings) -> Result<Exit, Problem> {
        let failed =
            |e| Problem::missing(format!("cannot wait for signals: {e}"), "run it as a process");
        let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        let stop = async move {
            let (a, b) = (std::pin::pin!(interrupted.recv()), std::pin::pin!(terminated.recv()));
            futures::future::select(a, b).await;
        };
        match serve(settings, Log::new(print), stop).await {
            Ok(()) => Ok(Exit::Fine),
            Err(e @ ComputeError::Database(_)) => Err(Problem::missing(
                e.to_string(),
                "see that it runs, and the URL's user, password and name",
            )),
            #[cfg(feature = "real")]
            Err(e @ ComputeError::Host(_)) => {
                Err(Problem::missing(e.to_string(), "see `castoff doctor`"))
            }
            Err(e @ ComputeError::Unfinished { .. }) => {
                Err(Problem::missing(e.to_string(), "give it a longer --grace"))
            }
        }
    }

    fn print(line: Line) {
        let request = line.request.as_deref().unwrap_or("-");
        let mut stdout = anstream::stdout();
        // A reader who went away has seen enough; the messages are taken all the same.
        let _ = writeln!(stdout, "{:>12} {request} {}", line.at.to_string(), line.text)
            .and_then(|()| stdout.flush());
    }

    fn settings(args: &ComputeArgs) -> Result<Settings, Problem> {
        let policy = select::policy(&args.policy)?;
        let release = Release::named(&policy.default_release)
            .unwrap_or_else(|| unreachable!("a policy names a release that exists"));
        let endpoint = |url: &str| {
            Endpoint::parse(url)
                .map_err(|e| Problem::usage(e.to_string(), "give a URL as http://127.0.0.1:8776"))
        };
        let mut conf = Conf::new(policy, HostName::new(&args.host));
        conf.iscsiadm_manual_scan = release.manual_scan;
        conf.use_multipath = args.multipath;
        conf.service_user = args.service_password.as_ref().map(|password| ServiceUser {
            user: UserId::new(&args.service_user),
            password: Secret::new(password),
            project: ProjectId::new(&args.service_project),
        });
        Ok(Settings {
            transport: Secret::new(&args.transport),
            database: Secret::new(&args.database),
            keystone: endpoint(&args.keystone)?,
            cinder: endpoint(&args.cinder)?,
            conf,
            host: host(args)?,
            report_state: !args.no_report_state,
            grace: Duration::from_secs(args.grace),
            messages: args.messages,
        })
    }

    #[cfg(not(feature = "real"))]
    fn host(args: &ComputeArgs) -> Result<HostSettings, Problem> {
        match args.connect {
            None => Ok(HostSettings::None),
            Some(_) => Err(Problem::missing(
                "this castoff was built without real bindings",
                "build it with `--features openstack,real`",
            )),
        }
    }

    #[cfg(feature = "real")]
    fn host(args: &ComputeArgs) -> Result<HostSettings, Problem> {
        use castoff_ports::{Iqn, Portal};
        use castoff_real::{RealConfig, RealHost};
        let Some(uri) = &args.connect else { return Ok(HostSettings::None) };
        let found =
            |e: castoff_real::RealError| Problem::missing(e.to_string(), "see `castoff doctor`");
        let mut domains = Vec::new();
        for domain in &args.domain {
            domains.push(RealHost::domain_by_name(uri, domain).map_err(found)?);
        }
        let mut targets = Vec::new();
        for target in &args.target {
            let Some((portal, iqn)) = target.split_once(',') else {
                let what = format!("--target {target:?} is no portal and target");
                return Err(Problem::usage(
                    what,
                    "write it 192.0.2.20:3260,iqn.2010-10.org.openstack:volume-…",
                ));
            };
            targets.push((Portal::new(portal), Iqn::new(iqn)));
        }
        Ok(HostSettings::Real(RealConfig {
            uri: uri.clone(),
            domains,
            targets,
            // os-brick's own limit.
            command_timeout: Duration::from_secs(600),
            lock_path: args.lock_path.clone(),
        }))
    }
}
