//! multipathd, for the length of a case, where it does not run anyway.

use castoff_real::fixture::{FixtureError, Made, RUN_VARIABLE, sh, sweep, until};

use super::case::{Case, Paths};
use super::stage::Stage;
use super::suite::Options;

/// Whether it is ours to stop.
pub(super) struct Multipathd {
    /// The run that started it.
    ours: Option<String>,
}

impl Multipathd {
    pub(super) async fn up(
        options: &Options,
        case: &Case,
        stage: &Stage,
    ) -> Result<Multipathd, FixtureError> {
        let runs = sh("pidof multipathd", &[""; 0]).await.is_ok();
        let ours = case.paths == Paths::Two && !runs && options.may_restart_daemons;
        if ours {
            stage.ledger.write(&stage.run, &Made::Multipathd {})?;
            sh(
                "modprobe -a dm-multipath dm-service-time; env \"$2=$1\" multipathd </dev/null >/dev/null 2>&1",
                &[stage.run.as_str(), RUN_VARIABLE],
            )
            .await?;
            let up =
                || async { sh("multipathd show daemon | grep -q idle", &[""; 0]).await.is_ok() };
            until("multipathd", 20, up).await?;
        }
        Ok(Multipathd { ours: ours.then(|| stage.run.clone()) })
    }

    pub(super) async fn down(self) -> Vec<FixtureError> {
        let Some(run) = self.ours else { return Vec::new() };
        let asked = sweep::end_multipathd(&run).await;
        let gone = || async { sh("! pidof multipathd", &[""; 0]).await.is_ok() };
        [asked, until("multipathd to end", 20, gone).await]
            .into_iter()
            .filter_map(Result::err)
            .collect()
    }
}
