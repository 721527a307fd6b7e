//! What each decision of the pipeline is for: one field changed, and the search tells what breaks.

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use serde_json::Value;

use crate::hunt::{Cloud, Found, Hunt};
use crate::parallel::share;
use crate::prepare::PrepareError;

/// One decision taken otherwise.
#[derive(Clone, Debug)]
pub struct Change {
    /// The field.
    pub field: String,
    /// The value that it gets.
    pub value: Value,
}

/// What became of one change.
#[derive(Clone, Debug)]
pub struct Ablated {
    /// The change.
    pub change: Change,
    /// The changed policy; none when the change makes none that can run, with the reason.
    pub policy: Result<Policy, String>,
    /// What the search came to.
    pub found: Found,
}

/// An ablation of one policy.
pub struct Ablate<'a> {
    /// The policy whose decisions are changed, and its release.
    pub base: Cloud,
    /// Where the search looks.
    pub hunt: Hunt,
    /// What is changed.
    pub changes: Vec<Change>,
    /// Threads.
    pub jobs: usize,
    /// Told how many changes are done.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Ablate<'_> {
    /// Tries every change.
    ///
    /// # Errors
    /// When a scenario cannot be prepared under the unchanged policy.
    pub fn run(&self) -> Result<Vec<Ablated>, PrepareError> {
        let done = share(
            self.jobs,
            self.changes.len(),
            || Ok::<_, PrepareError>(()),
            |(), i| {
                let result = self.one(&self.changes[i]);
                (self.progress)(1);
                result
            },
        )?;
        done.into_iter().collect()
    }

    fn one(&self, change: &Change) -> Result<Ablated, PrepareError> {
        let policy = can_run(
            self.base.policy.changed(&change.field, &change.value).map_err(|e| e.to_string()),
            &self.base.release,
        );
        let found = match &policy {
            Ok(policy) => {
                let release = self.base.release.clone();
                self.hunt.find(&self.base, &Cloud { policy: policy.clone(), release })?
            }
            Err(_) => Found::default(),
        };
        Ok(Ablated { change: change.clone(), policy, found })
    }
}

/// The policy, if it works with this release.
fn can_run(policy: Result<Policy, String>, release: &Release) -> Result<Policy, String> {
    let policy = policy?;
    match policy.works_with(&release.name) {
        Ok(()) => Ok(policy),
        Err(e) => Err(e.reason.to_owned()),
    }
}
