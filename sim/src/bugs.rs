//! The bugs of nova, os-brick and cinder as one decision taken otherwise, from `bugs.toml`.
//!
//! A planted bug that no search finds says that a scenario, a fault or a property is missing.

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use serde::Deserialize;

use crate::hunt::{Cloud, Found, Hunt};
use crate::parallel::share;
use crate::prepare::PrepareError;

const TEXT: &str = include_str!("../bugs.toml");

/// One bug.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bug {
    /// N for nova, B for os-brick, C for cinder, and a number.
    pub id: String,
    /// Launchpad's numbers, or a commit.
    pub reference: String,
    /// What was wrong.
    pub title: String,
    /// The properties that it broke, as its history tells.
    pub broke: Vec<String>,
    /// The policy that has it not.
    pub base: Option<String>,
    /// The release that both run against; the policy's own when absent.
    pub base_release: Option<String>,
    /// `FIELD=VALUE` of that policy.
    pub change: Option<String>,
    /// `FIELD=VALUE` of that policy's release.
    pub release: Option<String>,
    /// Why it is not tried.
    pub out: Option<String>,
}

/// A bug ready to be looked for.
#[derive(Clone, Debug)]
pub struct Planted {
    /// Without the bug.
    pub base: Cloud,
    /// With it.
    pub changed: Cloud,
}

/// An entry of the list that cannot be planted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bug {id}: {reason}")]
pub struct BugError {
    /// The bug.
    pub id: String,
    /// What is wrong with its entry.
    pub reason: String,
}

/// All bugs of the list, in its order.
///
/// # Errors
/// When the list cannot be read.
pub fn all() -> Result<Vec<Bug>, toml::de::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        bug: Vec<Bug>,
    }
    Ok(toml::from_str::<List>(TEXT)?.bug)
}

impl Bug {
    /// Both clouds; none when the bug is out.
    ///
    /// # Errors
    /// When the entry has neither a change nor a reason, or its change is none.
    pub fn plant(&self) -> Result<Option<Planted>, BugError> {
        let wrong = |reason: String| BugError { id: self.id.clone(), reason };
        let changes = self.change.is_some() || self.release.is_some();
        if self.out.is_some() == changes {
            return Err(wrong("expected either a change or a reason to be out".to_owned()));
        }
        let (Some(base), true) = (&self.base, changes) else { return Ok(None) };
        let policy = Policy::parse(base).map_err(|e| wrong(e.to_string()))?;
        let release = self.base_release.as_ref().unwrap_or(&policy.default_release);
        let release = Release::parse(release).map_err(|e| wrong(e.to_string()))?;
        let mut changed = Cloud { policy, release };
        let base = changed.clone();
        if let Some(change) = &self.change {
            let text = format!("{}+{change}", base.policy.name);
            changed.policy = Policy::parse(&text).map_err(|e| wrong(e.to_string()))?;
        }
        if let Some(change) = &self.release {
            let text = format!("{}+{change}", base.release.name);
            changed.release = Release::parse(&text).map_err(|e| wrong(e.to_string()))?;
        }
        changed.policy.works_with(&changed.release.name).map_err(|e| wrong(e.to_string()))?;
        Ok(Some(Planted { base, changed }))
    }
}

/// What became of one bug.
#[derive(Clone, Debug)]
pub struct Hunted {
    /// The bug.
    pub bug: Bug,
    /// How it was planted; none when it is out.
    pub planted: Option<Planted>,
    /// What the search came to.
    pub found: Found,
}

impl Hunted {
    /// In scope, and no run tells it from the unchanged cloud.
    pub fn missed(&self) -> bool {
        self.planted.is_some() && self.found.noticed.is_none()
    }
}

/// What ends a hunt for bugs early.
#[derive(Debug, thiserror::Error)]
pub enum HuntError {
    /// The list is wrong.
    #[error(transparent)]
    Bug(#[from] BugError),
    /// A scenario cannot be prepared without the bug.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
}

/// Looks for each bug, on so many threads; `progress` is told how many are done.
///
/// # Errors
/// When an entry cannot be planted, or a scenario cannot be prepared without the bug.
pub fn hunt(
    bugs: &[Bug],
    hunt: &Hunt,
    jobs: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Hunted>, HuntError> {
    let planted: Vec<Option<Planted>> = bugs.iter().map(Bug::plant).collect::<Result<_, _>>()?;
    let done = share(
        jobs,
        bugs.len(),
        || Ok::<_, HuntError>(()),
        |(), i| {
            let found = match &planted[i] {
                Some(p) => hunt.find(&p.base, &p.changed)?,
                None => Found::default(),
            };
            progress(1);
            Ok(Hunted { bug: bugs[i].clone(), planted: planted[i].clone(), found })
        },
    )?;
    done.into_iter().collect()
}

#[cfg(test)]
#[path = "bugs_tests.rs"]
mod tests;
