//! multipathd, for the length of a case, where it does not run anyway.

use castoff_real::fixture::{FixtureError, Made, sh, until};

use super::case::{Case, Paths};
use super::stage::Stage;
use super::suite::Options;

/// Whether it is ours to stop.
pub(super) struct Multipathd {
    ours: bool,
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
                "modprobe -a dm-multipath dm-service-time; multipathd </dev/null >/dev/null 2>&1",
                &[""; 0],
            )
            .await?;
            let up =
                || async { sh("multipathd show daemon | grep -q idle", &[""; 0]).await.is_ok() };
            until("multipathd", 20, up).await?;
        }
        Ok(Multipathd { ours })
    }

    pub(super) async fn down(self) -> Vec<FixtureError> {
        if !self.ours {
            return Vec::new();
        }
        let script = "pidof multipathd >/dev/null || exit 0; multipathd shutdown >/dev/null";
        let asked = sh(script, &[""; 0]).await;
        let gone = || async { sh("! pidof multipathd", &[""; 0]).await.is_ok() };
        [asked.map(drop), until("multipathd to end", 20, gone).await]
            .into_iter()
            .filter_map(Result::err)
            .collect()
    }
}
